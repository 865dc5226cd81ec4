/* lightforce: prompts with a time, for tests of the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "tests/element/rig.h"

G_BEGIN_DECLS

/* A file of prompts in a folder of its own. */
extern char *script_path;

/* The fixture that makes the folder, but no file yet. */
void script_setup (void);
void script_teardown (void);

void script_write (const char *text);
/* With `extra` properties and the script; pictures in RGBx. */
Rig *script_rig (const char *extra);
/* The upstream event with these fields, as ", prompt=two". */
GstEvent *script_event (const char *fields);

G_END_DECLS
#endif
