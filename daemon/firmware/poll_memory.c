#include "daemon/firmware/poll_memory.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/base/log.h"

#define LINES 7u

static void digest(const char *text, size_t size, char ret[41]) {
    uint8_t bytes[EVP_MAX_MD_SIZE] = { 0 };

    /* Fails for want of memory only; then nothing is recalled, which costs a download at worst. */
    if (EVP_Digest(text, size, bytes, NULL, EVP_sha1(), NULL) != 1)
        log_warning("SHA-1 is not to be had");
    hex_encode(bytes, 20, ret);
}

static void name_note(const struct config_source *source, char *ret, size_t size) {
    char text[FIRMWARE_URL_MAX + 16], name[41];
    int n = snprintf(text, sizeof text, "%d %s", (int)source->kind, source->url);

    digest(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1, name);
    snprintf(ret, size, "poll.source.%s", name);
}

void poll_memory_fingerprint(const struct config *config, char ret[41]) {
    char text[CONFIG_SOURCES_MAX * 64] = "";

    for (unsigned i = 0; i < config->n_sources; i++) {
        char name[64];

        name_note(&config->sources[i], name, sizeof name);
        strcat(text, name);
    }
    digest(text, strlen(text), ret);
}

/* ---- text: a line a field, the files of a folder behind them --------------------------------- */

static void list_fields(struct poll_memory *memory, char *fields[LINES], size_t sizes[LINES]) {
    const struct {
        char *field;
        size_t size;
    } all[LINES] = {
        { memory->etag, sizeof memory->etag },
        { memory->last_modified, sizeof memory->last_modified },
        { memory->url, sizeof memory->url },
        { memory->package_etag, sizeof memory->package_etag },
        { memory->package_last_modified, sizeof memory->package_last_modified },
        { memory->sha1, sizeof memory->sha1 },
        { memory->sha256, sizeof memory->sha256 },
    };

    for (unsigned i = 0; i < LINES; i++) {
        fields[i] = all[i].field;
        sizes[i] = all[i].size;
    }
}

static bool parse(struct poll_memory *ret, const char *text) {
    size_t sizes[LINES];
    char *fields[LINES];

    list_fields(ret, fields, sizes);
    for (unsigned i = 0; i < LINES; i++) {
        size_t length = strcspn(text, "\n");

        if (length >= sizes[i] || text[length] != '\n')
            return false;
        memcpy(fields[i], text, length);
        fields[i][length] = 0;
        text += length + 1;
    }
    ret->files = strdup(text);
    return true;
}

void poll_memory_save(const struct poll_memory *memory, const struct config_source *source,
                      struct poll_notes *notes) {
    cleanup(free_p) char *text = NULL;
    char name[64];

    name_note(source, name, sizeof name);
    if (asprintf(&text, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s", memory->etag, memory->last_modified, memory->url,
                 memory->package_etag, memory->package_last_modified, memory->sha1, memory->sha256,
                 memory->files ? memory->files : "") < 0) {
        text = NULL;
        return;
    }
    poll_notes_put(notes, name, text);
}

void poll_memories_recall(struct poll_memories *ret, struct records *records, const struct config *config,
                          const char *folder) {
    *ret = (struct poll_memories) { 0 };
    for (unsigned i = 0; i < config->n_sources; i++) {
        cleanup(free_p) char *text = NULL;
        char name[64];

        name_note(&config->sources[i], name, sizeof name);
        text = poll_notes_get(records, name);
        if (text && !parse(&ret->sources[i], text))
            ret->sources[i] = (struct poll_memory) { 0 };
    }
    firmware_download_recall(&ret->part, records, folder);
}

void poll_memories_deinit(struct poll_memories *memories) {
    for (unsigned i = 0; i < CONFIG_SOURCES_MAX; i++) {
        free(memories->sources[i].files);
        memories->sources[i].files = NULL;
    }
}
