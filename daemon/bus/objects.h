#pragma once

/* Inside of the bus room: what the objects share. */

#include <systemd/sd-bus.h>

#include "daemon/board/fleet.h"
#include "daemon/bus/authority.h"
#include "daemon/bus/service.h"
#include "daemon/bus/standing.h"

struct service;

/* Objects of one kind below one prefix: one vtable, found by index and path. */
struct object_kind {
    const char *prefix, *interface;
    const sd_bus_vtable *vtable; /* its userdata is the object */
    const void *(*at)(const struct service *service, unsigned index);
    void (*path_of)(const void *object, char *ret); /* ret has OBJECT_PATH_MAX bytes */
    /* The only one that may have this path, or NULL. Without it all of them are tried. */
    const void *(*find)(const struct service *service, const char *path);
};

extern const struct object_kind service_devices, service_jobs, service_firmware, service_boards,
    service_slots;

enum { OBJECT_KINDS = 5 };

struct object_binding {
    struct service *service;
    const struct object_kind *kind;
};

/* Where a board was last told to be, so that it is told when it goes. */
struct seat {
    const struct fleet_device *device;
    char mac[18]; /* empty: nobody, or not known */
    bool is_present;
};

struct service {
    uv_loop_t *loop;
    sd_bus *bus;
    const struct loop_meter *meter;
    struct fleet *fleet;
    struct firmware_store *store;
    struct firmware_poll *poll;
    struct object_binding bindings[OBJECT_KINDS];
    sd_bus_slot *slots[3 + 2 * OBJECT_KINDS]; /* the filter, the object manager, the manager; a vtable and an
                                                 enumerator each */
    unsigned n_slots;
    uv_timer_t pace; /* property changes are told at most five times a second */
    uint64_t last_told_ms;
    uv_timer_t firmware_settled;
    unsigned n_closing;         /* handles not yet closed */
    struct fleet_job **changed; /* jobs with untold changes */
    unsigned n_changed, changed_allocated;
    struct seat seats[FLEET_DEVICES_MAX];
    unsigned n_seats;
    const struct fleet_device *leaving; /* being told to go: it is in no slot any more */
    struct authority *authority;
    struct authority_caller caller; /* who may, and has called the method that runs */
    char by[32];                    /* the same for a job's record: "uid 1000" */
    struct lease *leases;
    struct standing standing;
};

#define OBJECT_PATH_MAX 1024 /* each byte of a name becomes three at most */

/* Of one call's arguments, nearly: a file's name, a label and some options are less by far. */
#define CALL_BYTES_MAX 16384

/* Paths. ret has OBJECT_PATH_MAX bytes. */
void service_device_path(const struct fleet_device *device, char *ret);
void service_job_path(const struct fleet_job *job, char *ret);
void service_firmware_path(const struct firmware_record *record, char *ret);
void service_board_path(const struct board_record *board, char *ret);
void service_slot_path(const struct slot_record *slot, char *ret);

/* Puts code's name and the story, which stands for itself, on error; gives back the negative errno that
 * sd-bus wants. */
int service_set_error(sd_bus_error *error, enum wipyd_error code, const char *story);

/* The same for a story with a caller's words in it, which may be as long as a message: cut to a fault's
 * length. */
__attribute__((format(printf, 3, 4))) int service_set_errorf(sd_bus_error *error, enum wipyd_error code,
                                                             const char *format, ...);

enum service_call {
    CALL_FLASH = 1,
    CALL_FLASH_FILE = 2,
    CALL_IDENTIFY = 4,
    CALL_LOOK = 8,
    CALL_RESTORE = 16
};

/* Reads a{sv} into ret, by the table of options; keys that this call does not take, wrong types and values
 * out of bounds are refused with an error set. Strings in ret are borrowed from message. */
int service_read_options(sd_bus_message *message, enum service_call call, struct fleet_options *ret,
                         sd_bus_error *error);
/* The same for the query of History and Decisions; ret_mac has 18 bytes and holds what ret->mac points at. */
int service_read_query(sd_bus_message *message, struct records_query *ret, char *ret_mac,
                       sd_bus_error *error);
/* "30aea4010203" or "30:AE:A4:01:02:03" to "30:ae:a4:01:02:03" (18 bytes); false: neither. */
bool service_parse_mac(const char *text, char *ret);
/* As above, refused with an error set. */
int service_read_mac(const char *text, char *ret, sd_bus_error *error);
/* The word of a policy, or empty; refused with an error set. */
int service_read_policy(sd_bus_message *message, enum board_policy *ret, sd_bus_error *error);
/* No control characters, nor those that turn or break lines. text is UTF-8. */
bool service_is_printable(const char *text);
/* A label that people can read in a terminal; ret has RECORD_LABEL_MAX bytes. The same. */
int service_read_label(sd_bus_message *message, char *ret, sd_bus_error *error);

int service_add_manager(struct service *service);

/* A package that a caller hands over: a sealed memfd of a size that makes sense. *ret is a duplicate, the
 * caller's. Negative errno with error set. */
int service_take_package(int fd, int *ret, uint64_t *ret_bytes, sd_bus_error *error);

/* "good", "quarantined", "missing"; static storage. */
const char *service_firmware_state_word(enum firmware_state state);

/* A call that is answered later. NULL: no memory. */
struct service_pending;
struct service_pending *service_pending_new(sd_bus_message *message);
/* Without an answer; NULL is fine. */
void service_pending_drop(struct service_pending *call);
/* The same, and the ledger that is to answer it. Negative errno with error set. In a method of a board or a
 * slot. */
int service_begin_change(sd_bus_message *message, struct ledger **ret_ledger, struct service_pending **ret,
                         sd_bus_error *error);
/* Answers with nothing, or with the fault; a ledger_fn and a fleet_look_fn. That the caller has gone is fine.
 */
void service_reply_done(void *userdata, const struct fault *fault);
/* Answers with a file descriptor, which stays the caller's. */
void service_reply_fd(struct service_pending *call, int fd);
/* firmware_store_fn's that answer: with nothing, with the package's object path, with its state. */
void service_reply_nothing(void *userdata, const struct fault *fault, const struct firmware_record *record);
void service_reply_path(void *userdata, const struct fault *fault, const struct firmware_record *record);
void service_reply_state(void *userdata, const struct fault *fault, const struct firmware_record *record);

/* An answer that is put together in the pool, because it is long or reads the disk. Needs nothing of the
 * service, which may be gone before it ends. */
struct service_answer {
    uv_work_t work;
    struct service_pending *call;
    sd_bus_message *reply; /* run's alone while it runs */
    struct fault fault;    /* of run; NONE: the reply is the answer */
    /* In the pool: appends to the reply. Negative errno. */
    int (*run)(struct service_answer *answer);
    int r;
    /* On the loop, when it was answered: what run needed, and the answer itself. */
    void (*free)(struct service_answer *answer);
};
/* answer has call, run and free; ends by free in any case. */
void service_answer_start(struct service_answer *answer, uv_loop_t *loop);
/* Answers call with the fault, and ends answer by free: nothing was run. */
void service_answer_refuse(struct service_answer *answer, const struct fault *fault);

/* Whether the caller may have what message asks of object (of a Manager's method: the service): as
 * authority_check. message is at its beginning again. */
must_check int service_may(sd_bus_message *message, void *object, sd_bus_error *error);
/* A method that not everybody may call: may_NAME, for the vtable, runs NAME once the caller may. */
#define SERVICE_GATED(name)                                                                                  \
    static int may_##name(sd_bus_message *message, void *userdata, sd_bus_error *error) {                    \
        int r = service_may(message, userdata, error);                                                       \
                                                                                                             \
        if (r > 0)                                                                                           \
            return name(message, userdata, error);                                                           \
        return r < 0 ? r : 1;                                                                                \
    }

/* A property whose value is a char array at the vtable's offset in the object. */
int service_get_chars(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error);

/* The device that a board, or a slot, has now; NULL: none. */
const struct fleet_device *service_device_of_board(const struct service *service, const char *mac);
const struct fleet_device *service_device_of_slot(const struct service *service, const char *name);
/* "/" for NULL. */
int service_append_device(sd_bus_message *reply, const struct fleet_device *device);

/* The service, inside a method of an object_kind, or the getter of one of its properties. */
struct service *service_of_call(sd_bus_message *message);
struct service *service_of_getter(sd_bus *bus);

/* One of the handles in n_closing is closed; the service may go with it. */
void service_on_handle_closed(struct service *service);

/* Nothing is to be told, or not yet: what would be told of isn't attached. */
bool service_is_detached(const struct service *service);

/* The Manager's methods that have their own files. */
int service_history(sd_bus_message *message, void *userdata, sd_bus_error *error);
int service_decisions(sd_bus_message *message, void *userdata, sd_bus_error *error);
int service_list_backups(sd_bus_message *message, void *userdata, sd_bus_error *error);
int service_open_backup(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* Where boards are now, when the fleet is attached. */
void service_take_seats(struct service *service);

/* The properties of a job that change, all of them or those worth telling often; NULL-terminated. */
extern const char *const job_properties_all[];
extern const char *const job_properties_often[];
extern const char *const device_properties[]; /* that change */
extern const char *const board_properties[];
extern const char *const slot_properties[];
