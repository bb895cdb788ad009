#include "daemon/flash/ladder.h"

enum { REGION_ERRORS_SAME_RATE = 1, REGION_ERRORS_MAX = 6, REGION_ERRORS_LAST_RATE = 2 };

const uint32_t ladder_rates[LADDER_RATES] = { LADDER_FIRST_BAUD, 230400,  460800, 921600,
                                              1500000,           2000000, 3000000 };

uint32_t ladder_below(uint32_t baud) {
    for (int i = LADDER_RATES; i-- > 0;)
        if (ladder_rates[i] < baud)
            return ladder_rates[i];
    return 0;
}

int ladder_rung(uint32_t baud) {
    for (int i = 0; i < LADDER_RATES; i++)
        if (ladder_rates[i] == baud)
            return i;
    return -1;
}

void ladder_note_block(struct ladder *ladder, uint32_t baud) {
    int rung = ladder_rung(baud);

    if (rung >= 0)
        ladder->counts[rung].blocks++;
}

void ladder_note_error(struct ladder *ladder, uint32_t baud) {
    int rung = ladder_rung(baud);

    ladder->errors++;
    if (rung >= 0)
        ladder->counts[rung].errors++;
}

enum ladder_verdict ladder_region_failed(struct ladder *ladder, bool can_lower) {
    ladder->region_errors++;
    ladder->here++;
    if (can_lower)
        return ladder->region_errors <= REGION_ERRORS_SAME_RATE ? LADDER_SAME : LADDER_LOWER;
    if (ladder->region_errors >= REGION_ERRORS_MAX && ladder->here >= REGION_ERRORS_LAST_RATE)
        return LADDER_FAIL;
    return LADDER_SAME;
}

void ladder_region_done(struct ladder *ladder) {
    ladder->region_errors = ladder->here = 0;
}

uint32_t ladder_give_up(struct ladder *ladder, uint32_t baud) {
    int rung = ladder_rung(baud);

    ladder->here = 0;
    if (rung > 0)
        ladder->counts[rung].is_given_up = true;
    return ladder_below(baud);
}
