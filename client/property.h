#pragma once

/*
 * D-Bus properties as rows of a table: a row says which property lands where in a struct and of which type it
 * is; the type says how it is read, freed, written as JSON and shown to a person. Nobody handles a property
 * by hand.
 */

#include <stdint.h>
#include <stdio.h>

#include "client/client.h"
#include "client/json.h"

struct property_type {
    const char *signature;
    /* Reads the value that m stands at; the slot held is cleared first by the caller. Negative errno. */
    int (*read)(sd_bus_message *m, void *slot);
    void (*clear)(void *slot); /* NULL: nothing is owned */
    void (*to_json)(struct json *json, const void *slot);
    void (*show)(FILE *stream, const void *slot);
};

struct property {
    const char *name; /* as on the bus; the key in JSON is this in snake_case */
    const struct property_type *type;
    size_t offset;
};

#define PROPERTIES_MAX 64 /* as many as a mask has bits */

/* An interface of proto/, and the struct that mirrors it. At most PROPERTIES_MAX properties. */
struct interface {
    const char *name;
    const struct property *properties;
    size_t n_properties, size;
};

struct list {
    void *items; /* n of the type that goes with the list */
    size_t n;
};

struct region {
    uint64_t offset_bytes, length_bytes;
    char *what, *name, *state;
};

struct timing {
    char *phase;
    uint64_t duration_ms;
};

struct attempt {
    uint32_t number;
    uint64_t ended_at_us;
    char *reason;
};

struct wire_bytes {
    uint64_t sent, received;
};

/* The slot's C type is in brackets. Strings are owned and never NULL once read. */
extern const struct property_type property_string;   /* s [char *] */
extern const struct property_type property_path;     /* o [char *], "/" is null in JSON */
extern const struct property_type property_bool;     /* b [bool] */
extern const struct property_type property_u32;      /* u [uint32_t] */
extern const struct property_type property_u64;      /* t [uint64_t] */
extern const struct property_type property_time;     /* t [uint64_t], microseconds since 1970 */
extern const struct property_type property_double;   /* d [double] */
extern const struct property_type property_regions;  /* a(ttsss) [struct list of struct region] */
extern const struct property_type property_timings;  /* a(st) [struct list of struct timing] */
extern const struct property_type property_attempts; /* a(uts) [struct list of struct attempt] */
extern const struct property_type property_wire;     /* (tt) [struct wire_bytes] */

/* Reads an a{sv} into the object. Properties that aren't in the table are skipped: the daemon may be newer.
 * *seen gets a bit per row that was read. 0, or negative errno. */
must_check int properties_read(const struct interface *interface, void *object, sd_bus_message *m,
                               uint64_t *seen);
/* The rows in seen, as keys and values of a map that is open. */
void properties_to_json(const struct interface *interface, const void *object, uint64_t seen,
                        struct json *json);
/* A property's key, as in JSON: "bytes_done"; at most size bytes with its end. Returns buffer. */
const char *property_key(const struct property *property, char *buffer, size_t size);
/* The rows in seen, as " key=value". */
void properties_show(const struct interface *interface, const void *object, uint64_t seen, FILE *stream);
/* Frees what the object owns and zeroes it. */
void properties_clear(const struct interface *interface, void *object);
/* The slot of a row in an object. */
void *property_slot(const struct property *property, void *object);

#define PROPERTIES_ALL UINT64_MAX

/* Makes room for one more item, zeroed, which counts once the caller raises n. NULL: no memory. */
void *list_next(struct list *list, size_t item_size);
