#pragma once

/*
 * From what a script says to what will be done on a flash of a given size: every op checked, erases before
 * writes, written sectors taken out of the erased ones. Nothing is copied or compressed here.
 */

#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"
#include "daemon/firmware/archive.h"
#include "daemon/firmware/package.h"
#include "daemon/firmware/script.h"

#define FIRMWARE_BOOTLOADER_OFFSET 0x1000u

struct firmware_plan_erase {
    uint32_t offset, size; /* multiples of 4096 */
    char name[FIRMWARE_AREA_NAME_MAX];
};

struct firmware_plan_write {
    uint32_t offset, size;                /* multiples of 4096 */
    const struct firmware_member *member; /* borrowed from the archive */
    uint32_t patch_flash_bytes;           /* for the header of the image at 0x1000; 0: written as it is */
};

/* Each op adds at most one stretch, each write cuts at most one in two, and otadata may come on top. */
#define FIRMWARE_PLAN_ERASES_MAX (FIRMWARE_SCRIPT_OPS_MAX + 2u)

struct firmware_plan {
    struct firmware_plan_erase erases[FIRMWARE_PLAN_ERASES_MAX]; /* by offset, none touching another */
    unsigned n_erases;
    struct firmware_plan_write writes[FIRMWARE_SCRIPT_OPS_MAX]; /* in the script's order */
    unsigned n_writes;
    struct firmware_area nvs, otadata, factory;
    const struct firmware_member *application; /* what factory gets; borrowed from the archive */
};

/* flash_bytes: 4 or 8 MB. The plan borrows from archive. */
must_check enum wipyd_error firmware_plan_make(struct firmware_plan *ret,
                                               const struct firmware_script *script,
                                               const struct firmware_archive *archive, uint32_t flash_bytes,
                                               struct fault *fault);
