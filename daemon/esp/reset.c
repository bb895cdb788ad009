#include "daemon/esp/reset.h"

/* "tight": both lines move in one TIOCMSET, so that nothing glitches on the way. "classic": one line at a
 * time, as older drivers did. The long delay is for boards with a large capacitor on EN, and for revision 0.
 */
#define TIGHT(delay_ms)                                                                                      \
    {                                                                                                        \
        .name = "tight " #delay_ms " ms", .n_steps = 6, .steps = {                                           \
            { false, false, 0 },                                                                             \
            { true, true, 0 },                                                                               \
            { false, true, 100 },                                                                            \
            { true, false, delay_ms },                                                                       \
            { false, false, 0 },                                                                             \
            { false, false, 0 },                                                                             \
        }                                                                                                    \
    }
#define CLASSIC(delay_ms)                                                                                    \
    {                                                                                                        \
        .name = "classic " #delay_ms " ms", .n_steps = 5, .steps = {                                         \
            { false, false, 0 },                                                                             \
            { false, true, 100 },                                                                            \
            { true, true, 0 },                                                                               \
            { true, false, delay_ms },                                                                       \
            { false, false, 0 },                                                                             \
        }                                                                                                    \
    }

static const struct esp_reset_sequence to_download[] = { TIGHT(50), TIGHT(550), CLASSIC(50), CLASSIC(550) };

const struct esp_reset_sequence esp_reset_to_application = {
    .name = "run",
    .n_steps = 3,
    .steps = { { false, false, 0 }, { false, true, 100 }, { false, false, 0 } },
};

const struct esp_reset_sequence *esp_reset_to_download(unsigned attempt) {
    return &to_download[attempt % (sizeof to_download / sizeof *to_download)];
}
