#pragma once

/*
 * What administrators search the journal for: MESSAGE_ID=... (sd_journal_send(3)). systemd/wipyd.catalog
 * explains each to people (journalctl -x). An id never changes and is never used for something else.
 */

/* clang-format off */
#define LOG_EVENT_JOB_BEGAN           "d98c979e62a55c72a80289a2c10ae1a7" /* A job on a board began */
#define LOG_EVENT_JOB_RESUMED         "02c703c7b56c52758456af59dc01fd81" /* A job that was cut off goes on */
#define LOG_EVENT_JOB_DONE            "41d5d40eac0c52e09b0939621a34457d" /* A job on a board is done */
#define LOG_EVENT_JOB_FAILED          "e4ab051686cc54e3af9bb2316e96d4c4" /* A job on a board failed */
#define LOG_EVENT_JOB_CANCELLED       "1c273d507b165bb4a2da67e914ac45bf" /* A job on a board was cancelled */
#define LOG_EVENT_JOB_CUT_OFF         "d80be99eeecb5886a64dec5989f0b624" /* A job on a board was cut off */
#define LOG_EVENT_BOARD_CONFIRMED     "af22e61fc99f55238d58d4b6ff98b4ca" /* A board runs what was written */
#define LOG_EVENT_PACKAGE_STORED      "1a505a56cae95d83ad78f3e0ae1442ab" /* A firmware package was stored */
#define LOG_EVENT_PACKAGE_QUARANTINED "558e082f95ac544aa06ef59a517b193e" /* A firmware package is in quarantine */
#define LOG_EVENT_PORT_HELD           "aa9d553bf009506f993da0f7c5f3cf99" /* Another program has a port */
/* clang-format on */
