#include "proto/error.h"

#include <string.h>

#include "proto/names.h"

static const struct {
    const char *bus_name, *sentence, *hint;
} errors[] = {
#define X(symbol, name, sentence, hint) [WIPYD_ERROR_##symbol] = { WIPYD_ERROR_PREFIX name, sentence, hint },
    WIPYD_ERROR_TABLE(X)
#undef X
};

const char *wipyd_error_bus_name(enum wipyd_error error) {
    return errors[error].bus_name;
}

const char *wipyd_error_sentence(enum wipyd_error error) {
    return errors[error].sentence;
}

const char *wipyd_error_hint(enum wipyd_error error) {
    return errors[error].hint;
}

enum wipyd_error wipyd_error_from_bus_name(const char *bus_name) {
    size_t i;

    for (i = 0; i < WIPYD_ERROR_COUNT; i++)
        if (!strcmp(errors[i].bus_name, bus_name))
            break;
    return (enum wipyd_error)i;
}
