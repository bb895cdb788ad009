#pragma once

/* A pager for long output, as systemctl has it. */

#include "client/client.h"

/* On a terminal, unless --no-pager or --plain: from now on standard output goes through $SYSTEMD_PAGER, else
 * $PAGER, else less; none of them, or one that is "" or "cat", leaves it as it is. */
void pager_open(const struct client *client);
/* Waits until the person has read it. */
void pager_close(void);
