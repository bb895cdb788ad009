#pragma once

/*
 * Gives back what only start-up or a rare piece of work touched of the program's and its libraries' files:
 * relocation and constructors walk through megabytes that are never needed again. Only clean pages of
 * mappings that nothing was written to are dropped, so nothing can be lost: what is needed again comes back
 * from the page cache. Reads /proc/self/smaps, which takes milliseconds: at start, or from the thread pool.
 */
void resident_trim(void);
