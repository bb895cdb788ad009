#pragma once

/*
 * The store from inside. Whatever changes it is an operation; they run one after the other, each in three
 * steps: begin (on the loop: may it be done?), run (in the pool: files and database), settle (on the loop:
 * the records in memory follow, events, the answer). The records in memory change only in settle, so run may
 * read them.
 */

#include "daemon/firmware/store.h"
#include "daemon/firmware/store_catalog.h"
#include "daemon/firmware/store_folder.h"

struct operation;

struct operation_kind {
    const char *what; /* for the log, when nobody waits for the outcome */
    /* Sets the fault, or leaves entry NULL when there is nothing to do. */
    void (*begin)(struct operation *operation);
    void (*run)(struct operation *operation);
};

enum operation_outcome { OUTCOME_NOTHING, OUTCOME_ADDED, OUTCOME_CHANGED, OUTCOME_REMOVED };

struct operation {
    struct operation *next;
    const struct operation_kind *kind;
    struct firmware_store *store;
    firmware_store_fn done; /* or NULL */
    void *userdata;

    char sha256[65];  /* which package; of a collection: the one to spare */
    bool flag;        /* pin: or unpin; remove: by force */
    uint64_t used_us; /* touch */
    struct addition *addition;

    struct store_entry *entry; /* the one that it is about, NULL while there is none */
    struct fault fault;
    enum operation_outcome outcome;   /* what happened, whatever the fault says */
    struct firmware_record record;    /* as it is now, when ADDED or CHANGED */
    struct firmware_package *package; /* as a by-product */
    bool is_quiet;                    /* CHANGED, but only its use */
};

/* What firmware_store_add was given. */
struct addition {
    int fd;
    uint64_t bytes;
    char *url, *name, *server_version, *server_hash; /* url: or NULL; the others may be empty */
    uint32_t server_int_version;
    struct store_entry *room; /* for its entry, and there is room for it in the catalog */
};

struct firmware_store {
    struct store_folder folder;
    struct store_catalog catalog;
    struct records *records;
    unsigned generation; /* of the records, as far as they are all in the database; used in run */
    struct work_queue *queue;
    const struct config *config;
    struct firmware_store_events events;
    void *userdata;

    struct operation *first, *last; /* the first is under way */
    bool is_preparing;              /* such an operation is among them */

    struct operation closing; /* the last there ever is */
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *closed_userdata;
};

uint64_t store_now_us(void);

/* In run: writes record (borrowed strings) and leaves it as the outcome CHANGED. */
void operation_put(struct operation *operation, const struct firmware_record *record);
void operation_run_add(struct operation *operation);
/* Reads the file again and checks all; the record's state follows. */
void operation_run_verify(struct operation *operation);
/* The same, and out of quarantine. */
void operation_run_release(struct operation *operation);
void operation_run_remove(struct operation *operation);

/* At start, blocking: the records into the catalog, and what lies in the folder without one. */
must_check enum wipyd_error store_load(struct firmware_store *store, struct fault *fault);
