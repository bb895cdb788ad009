#include "daemon/base/resident.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct mapping {
    uintptr_t begin, end;
    bool is_candidate; /* of a file, and not writable */
    bool is_clean;     /* without a page of its own */
};

static void drop(const struct mapping *mapping) {
    if (mapping->is_candidate && mapping->is_clean)
        /* A refusal costs memory, nothing else. */
        (void)!madvise((void *)mapping->begin, mapping->end - mapping->begin, MADV_DONTNEED);
}

void resident_trim(void) {
    FILE *smaps = fopen("/proc/self/smaps", "re");
    struct mapping mapping = { 0 };
    unsigned long begin, end, kib;
    char line[512], flags[5];

    if (!smaps)
        return;
    while (fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, flags) == 3) {
            drop(&mapping);
            mapping = (struct mapping) { .begin = begin, .end = end };
            mapping.is_candidate = strchr(line, '/') && flags[1] == '-' && flags[3] == 'p';
        } else if (sscanf(line, "Anonymous: %lu kB", &kib) == 1) {
            /* RELRO looks read-only too, but its pages were written when symbols were bound. */
            mapping.is_clean = kib == 0;
        }
    }
    drop(&mapping);
    fclose(smaps);
}
