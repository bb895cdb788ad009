#pragma once

/* Names on the bus. The XML files beside this header are the contract; these are its constants. */

#define WIPYD_BUS_NAME      "org.wipyd1"
#define WIPYD_ROOT_PATH     "/org/wipyd1"
#define WIPYD_DEVICE_PATH   WIPYD_ROOT_PATH "/device"   /* + "/" + bus label of the port's name */
#define WIPYD_JOB_PATH      WIPYD_ROOT_PATH "/job"      /* + "/" + decimal id */
#define WIPYD_FIRMWARE_PATH WIPYD_ROOT_PATH "/firmware" /* + "/" + first 16 hex digits of the SHA-256 */

#define WIPYD_BOARD_PATH WIPYD_ROOT_PATH "/board" /* + "/" + the MAC's 12 hex digits */
#define WIPYD_SLOT_PATH  WIPYD_ROOT_PATH "/slot"  /* + "/" + bus label of the slot's name */

#define WIPYD_MANAGER_INTERFACE  "org.wipyd1.Manager"
#define WIPYD_DEVICE_INTERFACE   "org.wipyd1.Device"
#define WIPYD_JOB_INTERFACE      "org.wipyd1.Job"
#define WIPYD_FIRMWARE_INTERFACE "org.wipyd1.Firmware"
#define WIPYD_BOARD_INTERFACE    "org.wipyd1.Board"
#define WIPYD_SLOT_INTERFACE     "org.wipyd1.Slot"

/* Error names are this prefix and the Name column of the table in error.h. */
#define WIPYD_ERROR_PREFIX "org.wipyd1.Error."

/* The largest package that a caller may hand over, in bytes; real ones have 0.78 to 1.9 MB packed
 * (facts/pycom.md 2.1). */
#define WIPYD_PACKAGE_BYTES_MAX (8u * 1024u * 1024u)
