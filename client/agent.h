#pragma once

/* A terminal's own polkit agent, so that a person can be asked for a password where there is no desktop. */

#include "client/client.h"

/* Before a request that may need one: starts pkttyagent, once, where it can be of use: on a terminal, for a
 * person who isn't root, on this machine's system bus, unless --no-ask-password. */
void agent_open(const struct client *client);
/* Ends it. */
void agent_close(void);
