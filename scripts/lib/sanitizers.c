/* Linked into the interpreter that has sanitizers: how they are to behave there.
   Here, not in environment variables: tests start it with an environment of their
   own.  (Such variables still win, option by option.) */

#include <stdio.h>

#include <sanitizer/common_interface_defs.h>

/* Reports go to files: tests start programs and look away from what these say.

   CPython never frees some of its data, so leaks tell nothing.  Tests ask for more
   memory than there is, to get MemoryError.  Crashes on purpose are faulthandler's,
   and what a signal does to a process is what tests want to see; no other crash gets
   lost, as a test has to expect it. */
const char *
__asan_default_options(void)
{
    return "log_path=" REPORTS ":detect_leaks=0:allocator_may_return_null=1"
           ":handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0"
           ":handle_sigfpe=0:detect_stack_use_after_return=1";
}

/* It goes on after a report: a process that went wrong in a known way can go wrong in
   ours later. */
const char *
__ubsan_default_options(void)
{
    return "log_path=" REPORTS ":suppressions=" SUPPRESSIONS;
}

void __ubsan_get_current_report_data(const char **kind, const char **message,
                                     const char **file, unsigned *line,
                                     unsigned *column, char **address);

/* gcc gives each sanitizer a runtime library of its own, but both call the first one's
   function that sets the file for reports: the second one writes to stderr.  So what
   it finds is told to the first one, here. */
void
__ubsan_on_report(void)
{
    const char *kind, *message, *file;
    unsigned line, column;
    char *address, text[1000];
    __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
    snprintf(text, sizeof(text), "%s:%u: %s: %s", file ? file : "?", line, kind, message);
    __sanitizer_report_error_summary(text);
    __sanitizer_print_stack_trace();
}
