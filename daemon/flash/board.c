#include "daemon/flash/board.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void flash_board_take_chip(struct flash_board *board, const struct esp_chip *chip, uint32_t host_baud) {
    uint8_t mac[6];
    int n;

    *board->mac = 0;
    if (esp_chip_mac(chip, mac))
        snprintf(board->mac, sizeof board->mac, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                 mac[3], mac[4], mac[5]);
    n = snprintf(board->chip, sizeof board->chip, "%s revision %u.%u", esp_chip_package(chip),
                 esp_chip_revision(chip) / 100, esp_chip_revision(chip) % 100);
    if (host_baud)
        snprintf(board->chip + n, sizeof board->chip - (size_t)n, ", %u MHz crystal",
                 esp_chip_crystal_mhz(chip, host_baud));
    board->flash_bytes = chip->flash_bytes;
}

/* What was read last, where there is no table or no application. */
static bool is_erased(const struct flash_probe *probe) {
    for (uint32_t i = 0; i < probe->n_bytes; i++)
        if (probe->bytes[i] != 0xff)
            return false;
    return probe->n_bytes > 0;
}

void flash_board_take_probe(struct flash_board *board, const struct flash_probe *probe) {
    board->is_blank = !probe->has_app && is_erased(probe);
    *board->board = *board->release = 0;
    if (!probe->has_version)
        return;
    snprintf(board->board, sizeof board->board, "%s", probe->version.board);
    snprintf(board->release, sizeof board->release, "%s", probe->version.release);
}

enum wipyd_error flash_board_port_fault(struct fault *fault, const char *node, int r, const char *holder) {
    switch (-r) {
    case EBUSY:
        return fault_set(fault, WIPYD_ERROR_PORT_BUSY, "%s is held by %s", node,
                         *holder ? holder : "a program that can't be named");
    case ENOENT:
    case ENXIO:
    case ENODEV:
    case EIO:
        return fault_set(fault, WIPYD_ERROR_PORT_GONE, "%s: %s", node, strerror(-r));
    case ENOMEM:
        return fault_set(fault, WIPYD_ERROR_NO_MEMORY, "opening %s", node);
    default:
        return fault_set(fault, WIPYD_ERROR_PORT_FAILED, "%s: %s", node, strerror(-r));
    }
}
