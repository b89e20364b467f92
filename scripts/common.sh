# shellcheck shell=bash disable=SC2034 # variables for those who source this
# What every script here shares: where things are, how they speak, how they
# run a long step, and what happens on Ctrl-C. Sourced, never run.

set -euo pipefail
# Without this a command substitution would carry on after an error in it.
shopt -s inherit_errexit

START_DIR=$PWD
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

BUILD=$ROOT/build
LOGS=$BUILD/logs
SRC=$BUILD/src                    # git checkout of the patched source
STOCK_SRC=$BUILD/src-stock        # the release as it was published
PATCHES=$ROOT/cpython-patch/patches
NEW_FILES=$ROOT/cpython-patch/new-files
CORE_HEADER=$ROOT/rust-core/include/interrupt_core.h
CORE_HEADER_IN_SRC=Include/internal/pycore_interrupt_core.h
CORE_VARIANT=''                   # "-free-threaded", "-sanitize", ...: see set_flavour
CORE_OBJECT=$BUILD/interrupt_core.o

# shellcheck source=../cpython-patch/upstream.env
source "$ROOT/cpython-patch/upstream.env"

# A patch series must not depend on who handles it: neither the user's git
# configuration nor a git hook's environment may leak into it. The one setting
# given lets root work on a checkout that belongs to somebody else.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_PREFIX \
    GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_NAMESPACE \
    GIT_CONFIG GIT_CONFIG_PARAMETERS GIT_DIFF_OPTS GIT_EXTERNAL_DIFF \
    GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE \
    GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_DATE
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1 \
    GIT_OPTIONAL_LOCKS=0 GIT_PAGER=cat \
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'

# Messages are searched for and compared, so they have to be in one language.
export LC_ALL=C

# --- Messages ---------------------------------------------------------------

PROGRAM=scripts/$(basename "$0")

say() { clear_line; printf '%s\n' "$*" >&2; }
die() { say "$PROGRAM: error: $*"; exit 1; }

# Prints the comment block at the top of the calling script: the help text and
# the comment that explains the script are one and the same.
print_help() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$ROOT/$PROGRAM"; }

clear_line() { if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi; }

# --- Cleaning up and Ctrl-C -------------------------------------------------

TEMPORARIES=()    # removed at exit, whatever the reason

temporary() { TEMPORARIES+=("$1"); }

stop_children() {
    local pid tries
    # A step has a process group of its own, so the signal reaches its
    # grandchildren, compilers say, as well. The progress line has none. Asking
    # bash, rather than a variable of ours, leaves no moment in which a child
    # runs and is not known yet.
    #
    # SIGINT comes first: it makes CPython's test runner end its workers, which
    # are in sessions of their own. SIGTERM follows for what ignores the first.
    for pid in $(jobs -p); do
        kill -INT -- "-$pid" || kill -TERM "$pid"
    done
    for ((tries = 0; tries < 50; tries++)); do
        if [[ -z $(jobs -pr) ]]; then break; fi
        sleep 0.1
    done
    for pid in $(jobs -pr); do kill -TERM -- "-$pid"; done
    wait
}

on_exit() {
    local status=$? path
    stop_children 2>/dev/null || true
    if ((status)) && [[ -z ${DISK_FULL_TOLD:-} ]] && ! disk_has_room; then
        say "The disk is full. Free some space under $BUILD and run this again."
    fi
    for path in "${TEMPORARIES[@]}"; do rm -rf "$path"; done
}

# A full disk also swallows the log that would tell, so this tries to write.
disk_has_room() {
    local probe=$BUILD/room
    if [[ ! -d $BUILD || ! -w $BUILD ]]; then return 0; fi
    if head -c 65536 /dev/zero >"$probe"; then
        rm -f "$probe"
    else
        rm -f "$probe"
        return 1
    fi 2>/dev/null
}

on_signal() {
    trap '' INT TERM HUP
    stop_children 2>/dev/null || true
    say "$PROGRAM: interrupted; the next run carries on from here"
    exit "$1"
}

trap on_exit EXIT
trap 'on_signal 130' INT
trap 'on_signal 143' TERM
trap 'on_signal 129' HUP

# --- Running a step ---------------------------------------------------------

# run_step NAME LOG COMMAND...
# Runs the command (a program or a function) with its output in LOG, draws a
# progress line while it runs, and on failure shows the end of the log.
run_step() {
    try_step "$@"
    if ((STEP_STATUS)); then step_failed "$1" "$2"; fi
}

# The same for a step that may fail: leaves its exit status in STEP_STATUS.
# (Not as a return value: in a condition bash would ignore errors inside.)
try_step() {
    local name=$1 log=$2 start=$SECONDS
    shift 2
    mkdir -p "$(dirname "$log")"
    : >"$log"
    draw_progress "$name" "$log" "$start" &
    local ticker=$! child
    # Job control gives the step its own process group and lets it have the
    # default reaction to signals, which a background job otherwise lacks.
    set -m
    (exec 9>&-; "$@") </dev/null >"$log" 2>&1 &
    child=$!
    set +m
    STEP_STATUS=0
    wait "$child" || STEP_STATUS=$?
    { kill "$ticker" && wait "$ticker"; } 2>/dev/null || true
    if ((!STEP_STATUS)); then
        say "$(printf '%6s  %s' "$((SECONDS - start)) s" "$name")"
    fi
}

step_failed() {
    say "$PROGRAM: error: this step failed: $1"
    say "The last lines of its output:"
    tail -n 20 "$2" | sed 's/^/    /' >&2
    # The probe at exit can miss this: a failed compiler removes its output,
    # which makes room again, and it may have been the temporary directory.
    if grep -q 'No space left on device' "$2"; then
        say "The disk is full (No space left on device). Free some space under $BUILD and ${TMPDIR:-/tmp}, then run this again."
        DISK_FULL_TOLD=yes
    fi
    say "All of its output: $2"
    exit 1
}

draw_progress() {
    local name=$1 log=$2 start=$3 elapsed objects detail columns
    trap - INT TERM HUP EXIT
    # Neither the lock nor a process of its own may outlive this script, so it
    # waits by reading from a pipe that stays empty.
    exec 9>&- 8<> <(:)
    columns=80
    if [[ -t 2 ]]; then columns=$(tput cols 2>/dev/null || echo 80); fi
    while true; do
        # A terminal gets a line that is redrawn, a file a line now and then.
        if [[ -t 2 ]]; then read -rt 0.5 -u 8; else read -rt 30 -u 8; fi || true
        elapsed=$((SECONDS - start))
        objects=$(grep -c -- ' -c .* -o ' "$log" || true)
        detail=
        if ((objects)); then detail="$objects objects"; fi
        if [[ -t 2 ]]; then
            if ((!objects)); then detail=$(tail -n 1 "$log" | tr -cd '[:print:]'); fi
            local line
            line=$(printf '%6s  %s  %s' "$elapsed s" "$name" "$detail")
            printf '\r\033[K%s' "${line:0:columns-1}" >&2
        else
            printf '%6s  %s ... %s\n' "$elapsed s" "$name" "$detail" >&2
        fi
    done
}

# --- One at a time ----------------------------------------------------------

# Two builds in one tree would overwrite each other's files. The lock is held
# on file descriptor 9 until the script ends, however it ends.
take_lock() {
    if [[ -n ${LOCKED:-} ]]; then return; fi
    LOCKED=yes
    mkdir -p "$BUILD"
    exec 9>>"$BUILD/lock"
    if ! flock -n 9; then
        say "Waiting for another run in $BUILD to finish ..."
        # In the background, because bash handles Ctrl-C only between
        # foreground commands and at once while it waits.
        set -m
        flock 9 &
        set +m
        wait "$!"
    fi
}

# --- Small things -----------------------------------------------------------

# write_file PATH: standard input becomes PATH's content, all or nothing.
write_file() {
    local part=$1.part
    cat >"$part"
    mv -f "$part" "$1"
}

# install_if_changed NEW OLD: keeps OLD's time stamp if nothing changed, so
# that make does not rebuild what depends on it.
install_if_changed() {
    if cmp -s "$1" "$2"; then rm -f "$1"; else mv -f "$1" "$2"; fi
}

hash_of() { sha256sum | cut -d' ' -f1; }

# hash_files PATH...: one hash over names and contents of all files below.
hash_files() {
    find "$@" -type f ! -path '*/target/*' ! -name '*.swp' -print0 2>/dev/null |
        sort -z | xargs -0 -r sha256sum | hash_of
}

absolute_path() { (cd "$START_DIR" && realpath -m -- "$1"); }
