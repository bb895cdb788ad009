#pragma once

/*
 * The next step of a person, in one sentence: what `status`, `monitor` and a job's UserAction say. Pure. The
 * sentences are one table, by the rule that won and what was seen (facts/esp32-serial-protocol.md 3, the
 * table of what is seen).
 */

#include "daemon/board/decision.h"

/* Static storage; empty: nothing is wanted of anybody. rule: as decision_make gave it. */
const char *coach_advice(const struct decision_state *state, unsigned rule);
