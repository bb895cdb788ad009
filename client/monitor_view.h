#pragma once

/* `wipyctl monitor` on a terminal. */

#include "client/client.h"

/* Until Ctrl-C, which is no failure. */
enum exit_code monitor_view(const struct client *client);
