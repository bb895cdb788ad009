#include "daemon/firmware/stub_file.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/firmware/json.h"

#ifndef WIPYD_DATA
#define WIPYD_DATA "/usr/share/wipyd"
#endif

/* Patterns, in the order of preference. esptool has the new line's file below 2/, the legacy one's below 1/,
 * and before 4.8 in one file for itself (facts 7). */
#define ESPTOOL(folder)                                                                                      \
    folder "/esptool/targets/stub_flasher/2/esp32.json",                                                     \
        folder "/esptool/targets/stub_flasher/1/esp32.json",                                                 \
        folder "/esptool/targets/stub_flasher/stub_flasher_32.json"

static const char *const usual_places[] = { WIPYD_DATA "/stub/esp32.json",
                                            ESPTOOL("/usr/lib/python3/dist-packages"),
                                            ESPTOOL("/usr/local/lib/python3*/dist-packages"),
                                            ESPTOOL("/usr/local/lib/python3*/site-packages"),
                                            ESPTOOL("/usr/lib/python3*/site-packages"),
                                            ESPTOOL("/opt/pipx/venvs/esptool/lib/python3*/site-packages"),
                                            ESPTOOL("/opt/esptool/lib/python3*/site-packages"),
                                            NULL };

/* ---- one file -------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static bool refuse(char *why, size_t size, const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

/* The whole file as text, or NULL. */
static char *read_text(const char *path, char *why, size_t size) {
    cleanup(close_fd_p) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    cleanup(free_p) char *text = NULL;
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0) {
        refuse(why, size, "can't be read: %s", strerror(errno));
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FIRMWARE_STUB_FILE_MAX) {
        refuse(why, size, "is no file of at most %u bytes", FIRMWARE_STUB_FILE_MAX);
        return NULL;
    }
    text = malloc(FIRMWARE_STUB_FILE_MAX + 1);
    if (!text) {
        refuse(why, size, "can't be read: %s", strerror(ENOMEM));
        return NULL;
    }
    n = read(fd, text, FIRMWARE_STUB_FILE_MAX);
    if (n < 0) {
        refuse(why, size, "can't be read: %s", strerror(errno));
        return NULL;
    }
    text[n] = 0;
    return steal_pointer(&text);
}

static bool find_number(yajl_val tree, const char *name, uint32_t *ret, char *why, size_t size) {
    const char *path[] = { name, NULL };
    yajl_val value = yajl_tree_get(tree, path, yajl_t_number);

    if (!value || !YAJL_IS_INTEGER(value) || YAJL_GET_INTEGER(value) < 0 ||
        YAJL_GET_INTEGER(value) > UINT32_MAX)
        return refuse(why, size, "has no number \"%s\"", name);
    *ret = (uint32_t)YAJL_GET_INTEGER(value);
    return true;
}

/* A segment in base64: its bytes to *ret, their number and digest to segment. */
static bool find_segment(yajl_val tree, const char *name, uint8_t **ret, struct esp_stub_segment *segment,
                         char *why, size_t size) {
    const char *path[] = { name, NULL };
    yajl_val value = yajl_tree_get(tree, path, yajl_t_string);
    const char *text = YAJL_IS_STRING(value) ? value->u.string : "";
    size_t length = strlen(text), padding = length - strcspn(text, "=");
    int n;

    if (!length || length % 4 || padding > 2)
        return refuse(why, size, "has no \"%s\" in base64", name);
    *ret = malloc(length / 4 * 3);
    if (!*ret)
        return refuse(why, size, "can't be read: %s", strerror(ENOMEM));
    n = EVP_DecodeBlock(*ret, (const unsigned char *)text, (int)length);
    if (n < 0)
        return refuse(why, size, "has no \"%s\" in base64", name);
    segment->size = (uint32_t)n - (uint32_t)padding;
    if (EVP_Digest(*ret, segment->size, segment->sha256, NULL, EVP_sha256(), NULL) != 1)
        return refuse(why, size, "can't be digested");
    return true;
}

bool firmware_stub_read(struct firmware_stub *ret, const char *path, char *why, size_t size) {
    static const char *const names[][2] = {
        [ESP_STUB_TEXT] = { "text", "text_start" }, [ESP_STUB_DATA] = { "data", "data_start" }
    };
    cleanup(free_p) char *text = NULL;
    cleanup(json_deinit) struct json json = { 0 };
    struct esp_stub found = { 0 };
    int r;

    *ret = (struct firmware_stub) { 0 };
    text = read_text(path, why, size);
    if (!text)
        return false;
    r = json_read(&json, text, strlen(text), JSON_ROOM(strlen(text)));
    if (r == -ENOMEM)
        return refuse(why, size, "can't be read: %s", strerror(-r));
    if (!YAJL_IS_OBJECT(json.root))
        return refuse(why, size, "is not the JSON of a stub");
    if (!find_number(json.root, "entry", &found.entry, why, size) ||
        !find_number(json.root, "bss_start", &found.bss, why, size))
        return false;
    for (int i = 0; i < ESP_STUB_SEGMENTS; i++)
        if (!find_segment(json.root, names[i][0], &ret->segments[i], &found.segments[i], why, size) ||
            !find_number(json.root, names[i][1], &found.segments[i].address, why, size))
            return false;
    ret->kind = esp_stub_find(&found);
    if (!ret->kind)
        return refuse(why, size, "holds a stub that is not known to be good: only %s and %s are",
                      esp_loader_stub.word, esp_loader_stub_legacy.word);
    return true;
}

void firmware_stub_deinit(struct firmware_stub *stub) {
    for (int i = 0; i < ESP_STUB_SEGMENTS; i++)
        free(stub->segments[i]);
    *stub = (struct firmware_stub) { 0 };
}

/* ---- the search ------------------------------------------------------------------------------ */

enum state { UNSEARCHED, MISSING, REFUSED, FOUND };

struct firmware_stubs {
    pthread_mutex_t lock;
    char *setting;
    const char *const *places;
    enum state state, told;
    struct firmware_stub stub;
    char path[256], why[160]; /* of the one found, or of the first that was refused */
};

int firmware_stubs_new(struct firmware_stubs **ret, const char *setting, const char *const *places) {
    struct firmware_stubs *stubs = calloc(1, sizeof *stubs);

    if (!stubs)
        return -ENOMEM;
    stubs->setting = strdup(setting);
    stubs->places = places ? places : usual_places;
    if (!stubs->setting || pthread_mutex_init(&stubs->lock, NULL) != 0) {
        free(stubs->setting);
        free(stubs);
        return -ENOMEM;
    }
    *ret = stubs;
    return 0;
}

struct firmware_stubs *firmware_stubs_free(struct firmware_stubs *stubs) {
    if (!stubs)
        return NULL;
    pthread_mutex_destroy(&stubs->lock);
    firmware_stub_deinit(&stubs->stub);
    free(stubs->setting);
    free(stubs);
    return NULL;
}

/* True: this is the one. */
static bool try_file(struct firmware_stubs *stubs, const char *path) {
    char why[sizeof stubs->why];

    if (firmware_stub_read(&stubs->stub, path, why, sizeof why)) {
        stubs->state = FOUND;
        snprintf(stubs->path, sizeof stubs->path, "%s", path);
        return true;
    }
    firmware_stub_deinit(&stubs->stub);
    if (stubs->state == MISSING) {
        stubs->state = REFUSED;
        snprintf(stubs->path, sizeof stubs->path, "%s", path);
        snprintf(stubs->why, sizeof stubs->why, "%s", why);
    }
    return false;
}

static void search(struct firmware_stubs *stubs) {
    stubs->state = MISSING;
    if (strcmp(stubs->setting, "auto") != 0) {
        try_file(stubs, stubs->setting);
        return;
    }
    for (unsigned i = 0; stubs->places[i] && stubs->state != FOUND; i++) {
        glob_t found;

        if (glob(stubs->places[i], 0, NULL, &found) != 0)
            continue;
        for (size_t k = found.gl_pathc; k-- > 0 && stubs->state != FOUND;) /* the newest Python first */
            try_file(stubs, found.gl_pathv[k]);
        globfree(&found);
    }
}

const struct firmware_stub *firmware_stubs_find(struct firmware_stubs *stubs) {
    const struct firmware_stub *stub;

    if (!stubs || !strcmp(stubs->setting, "off"))
        return NULL;
    pthread_mutex_lock(&stubs->lock);
    if (stubs->state != FOUND)
        search(stubs);
    stub = stubs->state == FOUND ? &stubs->stub : NULL;
    pthread_mutex_unlock(&stubs->lock);
    return stub;
}

bool firmware_stubs_news(struct firmware_stubs *stubs, char *ret, size_t size, bool *ret_is_grave) {
    enum state state;

    if (!stubs)
        return false;
    pthread_mutex_lock(&stubs->lock);
    state = stubs->state == stubs->told ? UNSEARCHED : stubs->state;
    stubs->told = stubs->state;
    *ret_is_grave = state == REFUSED;
    switch (state) {
    case UNSEARCHED:
        break;
    case MISSING:
        snprintf(
            ret, size,
            "no flasher stub is installed: the boot ROM does all, and a flash takes twice as long (run make "
            "stub before make install or make deb, or name a file: [flash] stub in wipyd.conf)");
        break;
    case REFUSED:
        snprintf(ret, size,
                 "%s %s: the boot ROM does all, and a flash takes twice as long (run make stub before make "
                 "install or make deb, or name another file: [flash] stub in wipyd.conf)",
                 stubs->path, stubs->why);
        break;
    case FOUND:
        snprintf(ret, size, "boards are flashed by %s, out of %s", stubs->stub.kind->loader->word,
                 stubs->path);
        break;
    }
    pthread_mutex_unlock(&stubs->lock);
    return state != UNSEARCHED;
}
