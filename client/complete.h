#pragma once

/*
 * What may stand where a shell's cursor is: `wipyctl __complete WORD...`, with the words of the line behind
 * the program's name, the last of which is the one under the cursor. A candidate per line, a tab, and what it
 * is; ":files" alone means a file's name. The shells' own files in completions/ know no more than to ask.
 */

/* words: NULL ends. The program's exit code: 0; what can't be found out isn't offered. */
int complete(char **words);
