/* The configuration file. */

#include <sys/mman.h>
#include <unistd.h>

#include "daemon/base/config.h"
#include "tests/fuzz/fuzz.h"

static unsigned n_restarts;

static void on_restart(const char *section, const char *name) {
    must(*section && *name);
    n_restarts++;
}

static bool is_within(uint32_t value, uint32_t least, uint32_t most) {
    return value >= least && value <= most;
}

/* The bounds that config.h promises. */
static void check_config(const struct config *config) {
    must(config->state_directory);
    must(is_within(config->log_level, 3, 7));
    must(!config->baud || is_within(config->baud, 9600, 4000000)); /* 0: auto */
    must(is_within(config->connect_timeout_s, 1, 3600));
    must(is_within(config->attempts, 1, 100) && config->policy < BOARD_POLICY_COUNT);
    must(config->jobs <= 256 && config->usb_budget_k <= 100000);
    must(!config->stub || *config->stub == '/' || !strcmp(config->stub, "auto") ||
         !strcmp(config->stub, "off"));
    must(config->settle_ms <= 60000 && config->syncs <= 20 && config->listen_ms <= 3000);
    must(config->coach_s <= 86400 && config->n_adapters <= CONFIG_ADAPTERS_MAX);
    must(config->n_ports <= CONFIG_PORTS_MAX && config->n_sources <= CONFIG_SOURCES_MAX);
    must(is_within(config->poll_interval_s, 1, 2592000) && is_within(config->timeout_s, 1, 600));
    must(is_within(config->keep_packages, 1, 10000) && is_within(config->keep_mib, 1, 1048576));
    for (unsigned i = 0; i < config->n_ports; i++)
        must(*config->ports[i]);
    for (unsigned i = 0; i < config->n_adapters; i++)
        must(memchr(config->adapters[i].name, 0, sizeof config->adapters[i].name));
    for (unsigned i = 0; i < config->n_sources; i++) {
        const struct config_source *source = &config->sources[i];

        must(is_printable_ascii(source->url) || source->kind == CONFIG_SOURCE_FOLDER);
        must(source->kind == CONFIG_SOURCE_FOLDER ? *source->url == '/'
                                                  : !strncasecmp(source->url, "http", 4));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    int fd = memfd_create("wipyd.conf", MFD_CLOEXEC);
    struct config config, running;
    struct fault fault;
    char path[64];

    must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    must(config_init(&config) == 0 && config_init(&running) == 0);
    fault.code = WIPYD_ERROR_NONE;
    if (config_read(&config, path, true, &fault)) {
        must(fault.code == WIPYD_ERROR_INVALID_ARGUMENT);
        must_be_story(fault.story, sizeof fault.story);
    } else {
        check_config(&config);
        config_take(&running, &config, on_restart);
        check_config(&running);
        n_restarts = 0;
        config_take(&running, &config,
                    on_restart); /* what isn't taken over differs again, and nothing else */
        check_config(&running);
    }
    config_deinit(&config);
    config_deinit(&running);
    close(fd);
    return 0;
}
