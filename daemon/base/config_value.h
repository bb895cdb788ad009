#pragma once

/* Values of the configuration that are more than a word or a number: from their text. */

#include <stdbool.h>

#include "daemon/base/config.h"

/* "KIND URL": *ret_url points into value. NULL, or what is wanted instead; static storage. */
const char *config_parse_source(const char *value, enum config_source_kind *ret_kind, const char **ret_url);
/* "VVVV:PPPP NAME". NULL, or what is wanted instead; static storage. */
const char *config_parse_adapter(const char *text, struct config_adapter *ret);
