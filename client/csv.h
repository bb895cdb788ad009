#pragma once

/* Comma-separated values, RFC 4180, on standard output. */

#include "client/property.h"

/* The line of names, those that JSON has. */
void csv_header(const struct interface *interface);
/* A line of values: times as ISO 8601 in UTC, nothing for one that never was. */
void csv_row(const struct interface *interface, const void *object);
