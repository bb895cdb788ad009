#include "daemon/firmware/package.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/resident.h"
#include "daemon/firmware/archive.h"
#include "daemon/firmware/image.h"
#include "daemon/firmware/layout.h"
#include "daemon/firmware/pieces.h"
#include "daemon/firmware/script.h"

/* The best that libdeflate has: done once, sent to many boards. */
#define DEFLATE_LEVEL 12

#define SCRIPTS_PER_LAYOUT 3

/* facts/pycom.md 2.3, without the encrypted ones. */
static const struct {
    uint32_t flash_bytes;
    const char *scripts[SCRIPTS_PER_LAYOUT];
} SIZES[FIRMWARE_LAYOUTS] = {
    { 0x400000, { "script_4MB", "script2", "script" } },
    { 0x800000, { "script_8MB", "script2", "script" } },
};

/* The pieces of one stretch, with what they were made from, so that the second layout finds those of the
 * first. */
struct prepared {
    struct firmware_plan_write made_from; /* member NULL: an erased stretch, or no more use for the key */
    struct firmware_pieces pieces;
};

/* A package with what it owns behind it. */
struct owner {
    struct firmware_package package; /* first: the two share their address */
    struct firmware_region *regions[FIRMWARE_LAYOUTS];
    struct prepared *prepared;
    unsigned n_prepared;
};

/* What is needed only while reading. */
struct reading {
    struct firmware_archive archive;
    struct firmware_script script;
    struct firmware_plan plans[FIRMWARE_LAYOUTS];
    struct libdeflate_compressor *compressor;
};

static void free_owner(struct owner *owner) {
    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++)
        free(owner->regions[i]);
    for (unsigned i = 0; i < owner->n_prepared; i++)
        firmware_pieces_deinit(&owner->prepared[i].pieces);
    free(owner->prepared);
    free(owner->package.name);
    free(owner);
}

static void free_owner_p(struct owner **owner) {
    if (*owner)
        free_owner(*owner);
}

static void free_reading_p(struct reading **reading) {
    if (!*reading)
        return;
    firmware_archive_deinit(&(*reading)->archive);
    libdeflate_free_compressor((*reading)->compressor);
    free(*reading);
}

/* The system failed, which says nothing about the package: it is not a layout's fault. */
static bool is_of_system(enum wipyd_error error) {
    return error == WIPYD_ERROR_NO_MEMORY || error == WIPYD_ERROR_SYSTEM;
}

/* ---- planning -------------------------------------------------------------------------------- */

static enum wipyd_error plan_layout(struct reading *reading, unsigned i, struct firmware_layout *layout,
                                    struct fault *fault) {
    const struct firmware_member *member = NULL;
    enum wipyd_error error;

    for (unsigned k = 0; k < SCRIPTS_PER_LAYOUT && !member; k++)
        member = firmware_archive_find(&reading->archive, SIZES[i].scripts[k]);
    if (!member)
        return fault_set(fault, WIPYD_ERROR_SCRIPT_MISSING, "neither %s, %s nor %s is in the package",
                         SIZES[i].scripts[0], SIZES[i].scripts[1], SIZES[i].scripts[2]);
    snprintf(layout->script, sizeof layout->script, "%.15s", member->name);
    error = firmware_script_read(&reading->script, member, fault);
    if (error)
        return error;
    return firmware_plan_make(&reading->plans[i], &reading->script, &reading->archive, SIZES[i].flash_bytes,
                              fault);
}

/* The image's own word, never the file's name. Two layouts with two applications must at least be one
 * release. */
static enum wipyd_error check_version(struct firmware_version *version, const struct firmware_plan *plan,
                                      struct fault *fault) {
    const struct firmware_member *image = plan->application;
    struct firmware_version found;

    if (!firmware_version_find(image->bytes, image->size, &found))
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: no board and release in the image",
                         image->name);
    if (!*version->board)
        *version = found;
    else if (strcmp(version->board, found.board) != 0 || strcmp(version->release, found.release) != 0)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID,
                         "%s: the image is %s %s, the one for 4 MB of flash %s %s", image->name, found.board,
                         found.release, version->board, version->release);
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error plan_layouts(struct owner *owner, struct reading *reading, struct fault *fault) {
    const struct fault *worst = NULL;
    bool usable = false;

    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++) {
        struct firmware_layout *layout = &owner->package.layouts[i];
        enum wipyd_error error;

        layout->flash_bytes = SIZES[i].flash_bytes;
        error = plan_layout(reading, i, layout, &layout->fault);
        if (!error)
            error = check_version(&owner->package.version, &reading->plans[i], &layout->fault);
        if (is_of_system(error))
            return fault_set(fault, error, "%s", layout->fault.story);
        if (!error)
            usable = true;
        /* "no script for 4 MB" explains less than what is wrong with the script for 8 MB */
        else if (!worst || (worst->code == WIPYD_ERROR_SCRIPT_MISSING && error != WIPYD_ERROR_SCRIPT_MISSING))
            worst = &layout->fault;
    }
    return usable || !worst ? WIPYD_ERROR_NONE : fault_set(fault, worst->code, "%s", worst->story);
}

static bool is_planned(const struct owner *owner, const struct reading *reading,
                       const struct firmware_member *member) {
    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++)
        if (!owner->package.layouts[i].fault.code)
            for (unsigned k = 0; k < reading->plans[i].n_writes; k++)
                if (reading->plans[i].writes[k].member == member)
                    return true;
    return false;
}

/* An appimg.bin, the twin of wipy.bin, is a megabyte that nobody will ask for. */
static void drop_unplanned(const struct owner *owner, struct reading *reading) {
    for (unsigned i = 0; i < reading->archive.n; i++) {
        struct firmware_member *member = &reading->archive.members[i];

        if (!is_planned(owner, reading, member)) {
            free(member->bytes);
            member->bytes = NULL;
            member->size = 0;
        }
    }
}

/* ---- preparing ------------------------------------------------------------------------------- */

static const struct firmware_pieces *find_prepared(const struct owner *owner,
                                                   const struct firmware_plan_write *write) {
    for (unsigned i = 0; i < owner->n_prepared; i++) {
        const struct firmware_plan_write *other = &owner->prepared[i].made_from;

        if (other->member == write->member && other->offset == write->offset &&
            other->patch_flash_bytes == write->patch_flash_bytes)
            return &owner->prepared[i].pieces;
    }
    return NULL;
}

static int prepare_patched(struct firmware_pieces *ret, const struct firmware_plan_write *write,
                           struct libdeflate_compressor *compressor) {
    cleanup(free_p) uint8_t *bytes = malloc(write->size);

    if (!bytes)
        return -ENOMEM;
    memcpy(bytes, write->member->bytes, write->size); /* with the FF behind the member */
    if (!firmware_image_patch(bytes, write->member->size, write->patch_flash_bytes))
        return -ENOMEM;
    return firmware_pieces_write(ret, write->offset, bytes, write->size, compressor);
}

static int prepare_write(struct owner *owner, struct reading *reading,
                         const struct firmware_plan_write *write, const struct firmware_pieces **ret) {
    struct prepared *prepared;
    int r;

    *ret = find_prepared(owner, write);
    if (*ret)
        return 0;
    prepared = &owner->prepared[owner->n_prepared++];
    prepared->made_from = *write;
    r = write->patch_flash_bytes
            ? prepare_patched(&prepared->pieces, write, reading->compressor)
            : firmware_pieces_write(&prepared->pieces, write->offset, write->member->bytes, write->size,
                                    reading->compressor);
    *ret = &prepared->pieces;
    return r;
}

static int prepare_layout(struct owner *owner, struct reading *reading, unsigned i) {
    const struct firmware_plan *plan = &reading->plans[i];
    struct firmware_layout *layout = &owner->package.layouts[i];
    struct firmware_region *region = calloc(plan->n_erases + plan->n_writes, sizeof *region);

    if (!region)
        return -ENOMEM;
    layout->regions = owner->regions[i] = region;
    layout->nvs = plan->nvs;
    layout->otadata = plan->otadata;
    layout->factory = plan->factory;
    for (unsigned k = 0; k < plan->n_erases; k++, region++) {
        const struct firmware_plan_erase *erase = &plan->erases[k];
        struct firmware_pieces *pieces = &owner->prepared[owner->n_prepared++].pieces;
        int r = firmware_pieces_erase(pieces, erase->offset, erase->size);

        if (r < 0)
            return r;
        *region = (struct firmware_region) { .kind = FIRMWARE_ERASE,
                                             .offset = erase->offset,
                                             .size = erase->size,
                                             .pieces = pieces->pieces,
                                             .n_pieces = pieces->n };
        memcpy(region->md5, pieces->md5, sizeof region->md5);
        snprintf(region->name, sizeof region->name, "%s", erase->name);
    }
    for (unsigned k = 0; k < plan->n_writes; k++, region++) {
        const struct firmware_plan_write *write = &plan->writes[k];
        const struct firmware_pieces *pieces;
        int r = prepare_write(owner, reading, write, &pieces);

        if (r < 0)
            return r;
        *region = (struct firmware_region) { .kind = FIRMWARE_WRITE,
                                             .offset = write->offset,
                                             .size = write->size,
                                             .pieces = pieces->pieces,
                                             .n_pieces = pieces->n };
        memcpy(region->md5, pieces->md5, sizeof region->md5);
        snprintf(region->name, sizeof region->name, "%.*s", (int)sizeof region->name - 1,
                 write->member->name);
    }
    layout->n_regions = plan->n_erases + plan->n_writes;
    return 0;
}

static int prepare_layouts(struct owner *owner, struct reading *reading) {
    unsigned n = 0;

    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++)
        if (!owner->package.layouts[i].fault.code)
            n += reading->plans[i].n_erases + reading->plans[i].n_writes;
    owner->prepared = calloc(n, sizeof *owner->prepared);
    reading->compressor = libdeflate_alloc_compressor(DEFLATE_LEVEL);
    if (!owner->prepared || !reading->compressor)
        return -ENOMEM;
    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++)
        if (!owner->package.layouts[i].fault.code) {
            int r = prepare_layout(owner, reading, i);

            if (r < 0)
                return r;
        }
    for (unsigned i = 0; i < owner->n_prepared; i++)
        owner->prepared[i].made_from.member = NULL; /* about to be freed */
    return 0;
}

/* ---- the package ----------------------------------------------------------------------------- */

static enum wipyd_error read_package(struct owner **ret, const void *bytes, size_t size, const char *name,
                                     struct fault *fault) {
    cleanup(free_owner_p) struct owner *owner = calloc(1, sizeof *owner);
    cleanup(free_reading_p) struct reading *reading = calloc(1, sizeof *reading);
    enum wipyd_error error;
    int r;

    if (!owner || !reading)
        return fault_errno(fault, -ENOMEM, "%s", name);
    error = firmware_archive_read(&reading->archive, bytes, size, name, fault);
    if (error)
        return error;
    error = plan_layouts(owner, reading, fault);
    if (error)
        return error;
    drop_unplanned(owner, reading);
    r = prepare_layouts(owner, reading);
    if (r < 0)
        return fault_errno(fault, r, "%s", name);

    owner->package.n_refs = 1;
    owner->package.bytes = size;
    owner->package.name = strdup(name);
    if (!owner->package.name)
        return fault_errno(fault, -ENOMEM, "%s", name);
    if (EVP_Digest(bytes, size, owner->package.sha256, NULL, EVP_sha256(), NULL) != 1)
        return fault_errno(fault, -EIO, "%s", name);
    *ret = steal_pointer(&owner);
    return WIPYD_ERROR_NONE;
}

enum wipyd_error firmware_package_read(struct firmware_package **ret, const void *bytes, size_t size,
                                       const char *name, struct fault *fault) {
    struct owner *owner = NULL;
    enum wipyd_error error = read_package(&owner, bytes, size, name, fault);

    /* Megabytes were used for a moment, in this thread's arena: the allocator would keep them. */
    malloc_trim(0);
    resident_trim();
    if (error)
        return error;
    *ret = &owner->package;
    return WIPYD_ERROR_NONE;
}

const struct firmware_layout *firmware_package_layout(const struct firmware_package *package,
                                                      uint32_t flash_bytes) {
    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++)
        if (package->layouts[i].flash_bytes == flash_bytes)
            return &package->layouts[i];
    return NULL;
}

struct firmware_package *firmware_package_ref(struct firmware_package *package) {
    assert(package->n_refs > 0);
    package->n_refs++;
    return package;
}

struct firmware_package *firmware_package_unref(struct firmware_package *package) {
    if (!package)
        return NULL;
    assert(package->n_refs > 0);
    if (--package->n_refs == 0)
        free_owner((struct owner *)package);
    return NULL;
}
