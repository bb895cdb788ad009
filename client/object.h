#pragma once

/* One of the daemon's objects, mirrored: one struct per interface of proto/, members named as the properties
 * are. */

#include "client/client.h"
#include "client/property.h"

/* path is ours: where the object lives. Absent strings are "" in an object that was loaded. */
struct device {
    char *path, *name, *node, *job, *chip, *mac, *board, *release;
    char *slot, *adapter, *serial, *label, *policy, *policy_from, *seen, *verdict, *rule, *reason, *advice,
        *holder, *lessee;
    uint64_t flash_bytes, seen_at_us;
    bool present, armed;
};

struct job {
    char *path, *kind, *device, *state, *phase, *error, *error_text, *user_action, *waits_for, *package,
        *board, *release;
    char *slot, *mac, *by, *from_release, *confirmed_release, *loader, *warning;
    uint32_t id, rate, baud, attempt;
    bool dry_run;
    double progress;
    uint64_t bytes_done, bytes_total, started_at_us, finished_at_us;
    struct list regions;  /* of struct region */
    struct list timings;  /* of struct timing */
    struct list attempts; /* of struct attempt: those that were cut off */
    struct wire_bytes wire_bytes;
};

struct board {
    char *path, *mac, *board, *release, *chip, *label, *policy, *pin, *slot, *device;
    char *flashed_release, *flashed_sha256, *confirmed_release;
    uint64_t flash_bytes, seen_at_us, flashed_at_us, confirmed_at_us;
};

struct slot {
    char *path, *name, *label, *policy, *device, *mac, *advice;
    bool armed;
    uint32_t rate; /* baud; 0: no job was good there yet */
    double error_rate;
    uint64_t seen_at_us;
};

struct firmware {
    char *path, *sha256, *name, *board, *release, *origin, *server_version, *server_hash, *state, *reason;
    uint32_t order; /* 0: can't be ordered */
    bool pinned;
    uint64_t bytes, added_at_us, used_at_us;
};

struct manager {
    char *path, *version, *default_policy, *poll_state, *poll_result, *poll_source;
    uint32_t poll_failures; /* in a row */
    uint64_t polled_at_us, next_poll_at_us, fetched_bytes, fetch_bytes;
};

extern const struct interface manager_interface, device_interface, job_interface, firmware_interface,
    board_interface, slot_interface;

/* The row of proto/ that an interface's name means; NULL for others. */
const struct interface *interface_find(const char *name);

/* Reads all properties of the object at path into *object, which may hold an earlier state of it or be
 * zeroed. */
must_check enum exit_code object_load(const struct client *client, const struct interface *interface,
                                      const char *path, void *object);
/* The same for what is merely nice to know: silent, and *object stays as it was where the daemon doesn't
 * answer. */
void object_refresh(const struct client *client, const struct interface *interface, const char *path,
                    void *object);
/* Reads an a{sv} into *object and notes its path; *seen as in properties_read(). */
must_check int object_read(const struct interface *interface, void *object, const char *path,
                           sd_bus_message *m, uint64_t *seen);

/* Makes what an object has that the daemon left out "". -ENOMEM, or 0. */
must_check int object_fill(const struct interface *interface, void *object);

/* One object as a map. */
void object_to_json(const struct interface *interface, const void *object, struct json *json);
/* One object as the whole document. */
enum exit_code object_print_json(const struct client *client, const struct interface *interface,
                                 const void *object);

/* What a person called the device: a name, a node, a slot, a label or a MAC, or a part of one of them that no
 * other has. */
must_check enum exit_code device_find(const struct client *client, const char *word, struct device *device);
/* Which job a number means, as a path that the caller frees; a word that is none leaves it NULL. */
must_check enum exit_code job_find(const struct client *client, const char *word, char **path);
/* What a person called the package: the beginning of its SHA-256, or its release. */
must_check enum exit_code firmware_find(const struct client *client, const char *word,
                                        struct firmware *firmware);
/* The same for a board (a MAC or a label) and a slot (its name, a label, or the device in it), where there
 * may be none: then they leave *found false and say nothing. */
must_check enum exit_code board_seek(const struct client *client, const char *word, struct board *board,
                                     bool *found);
must_check enum exit_code slot_seek(const struct client *client, const char *word, struct slot *slot,
                                    bool *found);
must_check enum exit_code device_seek(const struct client *client, const char *word, struct device *device,
                                      bool *found);

/* For cleanup(). */
void device_clear_p(struct device *device);
void job_clear_p(struct job *job);
void firmware_clear_p(struct firmware *firmware);
void board_clear_p(struct board *board);
void slot_clear_p(struct slot *slot);
void manager_clear_p(struct manager *manager);
