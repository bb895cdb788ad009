#pragma once

/* The daemon's objects, mirrored: one struct per interface of proto/, members named as the properties are. */

#include "client/client.h"
#include "client/property.h"

/* path is ours: where the object lives. Absent strings are "" in an object that was loaded. */
struct device {
    char *path, *name, *node, *job, *chip, *mac, *board, *release;
    uint64_t flash_bytes, seen_at_us;
    bool present;
};

struct job {
    char *path, *kind, *device, *state, *phase, *error, *error_text, *user_action, *package, *board, *release;
    uint32_t id, rate, baud;
    bool dry_run;
    double progress;
    uint64_t bytes_done, bytes_total, started_at_us, finished_at_us;
    struct list regions; /* of struct region */
    struct list timings; /* of struct timing */
    struct wire_bytes wire_bytes;
};

struct firmware {
    char *path, *sha256, *name, *board, *release;
    uint64_t bytes;
    struct list flash_sizes; /* of uint64_t */
};

struct manager {
    char *path, *version;
};

extern const struct interface manager_interface, device_interface, job_interface, firmware_interface;

/* Everything that ObjectManager knows, each list in its natural order (ttyUSB2 before ttyUSB10, job 9 before
 * 10). */
struct objects {
    struct list devices;  /* of struct device */
    struct list jobs;     /* of struct job */
    struct list firmware; /* of struct firmware */
};

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
                           sd_bus_message *m, uint32_t *seen);

must_check enum exit_code objects_load(const struct client *client, struct objects *objects);
void objects_clear(struct objects *objects);
/* NULL when the path is none of them. */
const struct device *objects_device(const struct objects *objects, const char *path);
const struct job *objects_job(const struct objects *objects, const char *path);
/* An array of maps, as the value of a key or as the document. */
void objects_to_json(const struct list *list, const struct interface *interface, struct json *json);

/* One object as the whole document. */
enum exit_code object_print_json(const struct client *client, const struct interface *interface,
                                 const void *object);

/* What a person called the device: a name, a node or a MAC. */
must_check enum exit_code device_find(const struct client *client, const char *word, struct device *device);

/* For cleanup(). */
void device_clear_p(struct device *device);
void job_clear_p(struct job *job);
