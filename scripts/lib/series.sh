# shellcheck shell=bash
# The patch series as commits of a git checkout, and back. Sourced after
# common.sh.
#
# In build/src the series looks like this:
#
#   refs/series/release    the release, byte for byte
#   refs/series/base       the release, plus our new files, minus the files
#                          that the build generates
#   refs/series/imported   base plus one commit for each patch, as last imported
#   HEAD                   the same, plus the developer's own work
#
# Commits are made in the object store alone, from the contents of the patches
# and nothing else, so the same patches give the same commit ids everywhere.
# The files on disk are touched once, by one checkout that writes only what
# differs; that keeps a build after an import incremental.

SERIES_BRANCH=cpython-nit

# Files that CPython keeps in its repository and that our build generates:
# what "make regen-cases" writes, the identifiers found in the C sources, frozen
# byte code, and the names of all modules. Not part of any commit in build/src, so that a change of
# bytecodes.c reads as that and not as thousands of derived lines.
GENERATED=(
    Include/internal/pycore_opcode_metadata.h
    Include/internal/pycore_uop_ids.h
    Include/internal/pycore_uop_metadata.h
    Include/opcode_ids.h
    Lib/_opcode_metadata.py
    Python/executor_cases.c.h
    Python/generated_cases.c.h
    Python/opcode_targets.h
    Python/optimizer_cases.c.h
    # Tools/build/generate_global_objects.py
    Include/internal/pycore_global_objects_fini_generated.h
    Include/internal/pycore_global_strings.h
    Include/internal/pycore_runtime_init_generated.h
    Include/internal/pycore_unicodeobject_generated.h
    # Programs/freeze_test_frozenmain.py
    Programs/test_frozenmain.h
    # Tools/build/generate_stdlib_module_names.py
    Python/stdlib_module_names.h
)

# Every choice that a git version or a user's configuration could make
# differently is made here.
FORMAT_PATCH=(
    format-patch --quiet --keep-subject --zero-commit --no-signature --no-stat
    --patch --no-renames --no-thread --no-attach --no-cover-letter --no-base
    --no-notes --no-to --no-cc --no-add-header --no-ext-diff --no-textconv
    --no-color --no-relative --src-prefix=a/ --dst-prefix=b/ --abbrev=12
    --unified=3 --inter-hunk-context=0 --diff-algorithm=histogram
    --indent-heuristic --suffix=.patch --filename-max-length=64 --binary
)

src_git() { git -C "$SRC" "$@"; }

is_generated() {
    local path
    for path in "${GENERATED[@]}"; do
        if [[ $path == "$1" ]]; then return 0; fi
    done
    return 1
}

# Prints "PATH<tab>FILE" for each of our new files: its place in CPython's tree
# and the file in this repository. The Rust core's header is one of them.
list_new_files() {
    (cd "$NEW_FILES" && find . -type f ! -name '*.pyc' ! -name '.gitkeep' -printf "%P\t$NEW_FILES/%P\n")
    printf '%s\t%s\n' "$CORE_HEADER_IN_SRC" "$CORE_HEADER"
}

# Where a new file of build/src is kept in this repository.
home_of_new_file() {
    if [[ $1 == "$CORE_HEADER_IN_SRC" ]]; then echo "$CORE_HEADER"; else echo "$NEW_FILES/$1"; fi
}

list_patches() { find "$1" -maxdepth 1 -name '*.patch' | sort; }

# --- The checkout -----------------------------------------------------------

# Creates build/src with nothing checked out but the release, or brings its
# notion of the release up to date.
ensure_checkout() {
    local part=$SRC.part
    ensure_source
    if [[ ! -d $SRC/.git ]]; then
        if [[ -e $SRC ]]; then
            die "$SRC exists and is not our git checkout; move it away and run this again"
        fi
        rm -rf "$part"
        temporary "$part"
        cp -a "$STOCK_SRC" "$part"
        find "$part" -name __pycache__ -prune -exec rm -rf {} +
        # A template directory could bring hooks along.
        git init --quiet --template= --initial-branch="$SERIES_BRANCH" "$part"
        mkdir -p "$part/.git/info"
        configure_checkout "$part/.git"
        run_step "make the git checkout" "$LOGS/checkout.log" record_release "$part/.git" "$part"
        mv "$part" "$SRC"
    elif [[ $(git --git-dir="$SRC/.git" log -1 --format=%B refs/series/release) != "$(release_message)" ]]; then
        run_step "record CPython $UPSTREAM_VERSION" "$LOGS/checkout.log" \
            record_release "$SRC/.git" "$STOCK_SRC"
    fi
}

configure_checkout() {
    printf '%s\n' '__pycache__/' >"$1/info/exclude"
    printf '/%s\n' "${GENERATED[@]}" >>"$1/info/exclude"
    # Bytes are bytes, whatever the tree's or the user's attributes say.
    echo '* -text -filter -ident -working-tree-encoding !diff' >"$1/info/attributes"
    git --git-dir="$1" config core.autocrlf false
    git --git-dir="$1" config core.fileMode true
    git --git-dir="$1" config gc.auto 0
}

# Committing needs a name, and a fresh machine has none. A name the developer
# has configured is left alone.
ensure_identity() {
    local setting
    for setting in name:cpython-nit email:cpython-nit@localhost; do
        if ! env -u GIT_CONFIG_GLOBAL -u GIT_CONFIG_NOSYSTEM \
            git -C "$SRC" config "user.${setting%%:*}" >/dev/null; then
            src_git config "user.${setting%%:*}" "${setting#*:}"
        fi
    done
}

release_message() { printf 'CPython %s\n\nsha256 of the tarball: %s' "$UPSTREAM_VERSION" "$UPSTREAM_SHA256"; }

record_release() {
    local git_dir=$1 tree_dir=$2 index tree
    index=$git_dir/index.release
    rm -f "$index"
    tree=$(export GIT_INDEX_FILE=$index
        git --git-dir="$git_dir" --work-tree="$tree_dir" -c core.excludesFile=/dev/null add -A .
        # The exclude list names generated files, which the release does have.
        cd "$tree_dir"
        git --git-dir="$git_dir" --work-tree="$tree_dir" add -f "${GENERATED[@]}"
        git --git-dir="$git_dir" write-tree)
    rm -f "$index"
    git --git-dir="$git_dir" update-ref refs/series/release \
        "$(release_message | commit_tree "$git_dir" "$tree" "CPython" "$UPSTREAM_VERSION" "2000-01-01T00:00:00Z")"
}

# commit_tree GIT_DIR TREE AUTHOR EMAIL DATE [PARENT] <message: a commit that
# depends on its arguments alone.
commit_tree() {
    GIT_AUTHOR_NAME=$3 GIT_AUTHOR_EMAIL=$4 GIT_AUTHOR_DATE=$5 \
        GIT_COMMITTER_NAME=cpython-nit GIT_COMMITTER_EMAIL=cpython-nit@localhost \
        GIT_COMMITTER_DATE=$5 \
        git --git-dir="$1" -c commit.gpgSign=false -c i18n.commitEncoding=UTF-8 \
        commit-tree "$2" ${6:+-p "$6"}
}

# --- From patches to commits ------------------------------------------------

# make_series PATCH_DIR <new files, as list_new_files prints them
# Sets SERIES_BASE and SERIES_TIP. Touches no file and no ref.
make_series() {
    local patch_dir=$1 work git_dir=$SRC/.git path file mode blob tree
    work=$(mktemp -d "$BUILD/series.XXXXXX")
    temporary "$work"
    export GIT_INDEX_FILE=$work/index
    git --git-dir="$git_dir" read-tree refs/series/release
    git --git-dir="$git_dir" update-index --force-remove -- "${GENERATED[@]}"
    while IFS=$'\t' read -r path file; do
        [[ -f $file ]] || die "missing file: $file"
        if git --git-dir="$git_dir" cat-file -e "refs/series/release:$path" 2>/dev/null; then
            die "$file is not a new file: CPython has $path. Change that with a patch."
        fi
        mode=100644
        if [[ -x $file ]]; then mode=100755; fi
        blob=$(git --git-dir="$git_dir" hash-object -w --no-filters "$file")
        git --git-dir="$git_dir" update-index --add --cacheinfo "$mode,$blob,$path"
        echo "$path" >>"$work/new-files"
    done
    tree=$(git --git-dir="$git_dir" write-tree)
    SERIES_BASE=$(commit_tree "$git_dir" "$tree" cpython-nit cpython-nit@localhost \
        "2000-01-01T00:00:00Z" <<<"CPython $UPSTREAM_VERSION with the new files, without the generated ones")
    SERIES_TIP=$SERIES_BASE
    while read -r path; do
        apply_patch "$git_dir" "$work" "$path"
    done < <(list_patches "$patch_dir")
    unset GIT_INDEX_FILE
    rm -rf "$work"
}

# One patch becomes one commit on top of SERIES_TIP; what "git am" does,
# without a working tree.
apply_patch() {
    local git_dir=$1 work=$2 patch=$3 name touched tree author email date subject
    name=$(basename "$patch")
    git --git-dir="$git_dir" mailinfo -k --encoding=UTF-8 --no-scissors \
        "$work/body" "$work/diff" <"$patch" >"$work/info" || true
    author=$(sed -n 's/^Author: //p' "$work/info")
    email=$(sed -n 's/^Email: //p' "$work/info")
    date=$(sed -n 's/^Date: //p' "$work/info")
    subject=$(sed -n 's/^Subject: //p' "$work/info")
    if [[ -z $author || -z $date || -z $subject ]]; then
        die "patch $name is not in the form that git format-patch writes (From, Date and Subject)"
    fi
    while IFS=$'\t' read -r _ _ touched; do
        if is_generated "$touched"; then
            die "patch $name changes $touched, which the build generates; change its source instead"
        fi
        if grep -qxF "$touched" "$work/new-files"; then
            die "patch $name changes $touched, which is one of our new files; change it there"
        fi
    done < <(git --git-dir="$git_dir" apply --numstat "$work/diff" 2>/dev/null)
    if ! git --git-dir="$git_dir" apply --cached --whitespace=nowarn "$work/diff" 2>"$work/errors"; then
        say "$PROGRAM: error: patch $name does not apply:"
        sed 's/^/    /' "$work/errors" >&2
        exit 1
    fi
    tree=$(git --git-dir="$git_dir" write-tree)
    SERIES_TIP=$({ printf '%s\n\n' "$subject"; cat "$work/body"; } | git stripspace |
        commit_tree "$git_dir" "$tree" "$author" "$email" "$date" "$SERIES_TIP")
}

# The same for the series in this repository, remembered by its contents, as
# every build asks. Sets SERIES_BASE and SERIES_TIP.
current_series() {
    local key known=$BUILD/series.known remembered
    key=$(series_key)
    if [[ -f $known ]]; then
        read -r remembered SERIES_BASE SERIES_TIP <"$known"
        if [[ $remembered == "$key" ]] && src_git cat-file -e "$SERIES_TIP^{tree}" 2>/dev/null; then return; fi
    fi
    make_series "$PATCHES" < <(list_new_files)
    write_file "$known" <<<"$key $SERIES_BASE $SERIES_TIP"
}

series_key() {
    {
        echo "$UPSTREAM_SHA256 ${GENERATED[*]}"
        # Names, contents and the executable bit are what goes into a commit.
        find "$PATCHES" "$NEW_FILES" "$CORE_HEADER" -type f -printf '%p %m\n' | sort
        hash_files "$PATCHES" "$NEW_FILES" "$CORE_HEADER"
    } | hash_of
}

# --- State of the checkout --------------------------------------------------

imported() { src_git rev-parse --quiet --verify refs/series/imported 2>/dev/null; }

# Has build/src commits or edits that are not in the series as imported?
has_own_work() {
    local head
    head=$(src_git rev-parse --quiet --verify HEAD) || return 1
    [[ $head != "$(imported)" ]] || ! src_git diff-index --quiet HEAD --
}

refresh_index() { src_git update-index -q --refresh >/dev/null || true; }

# The tree that is on disk, committed or not (files git does not track apart).
tree_on_disk() {
    local index
    if src_git diff-index --quiet HEAD --; then
        src_git rev-parse 'HEAD^{tree}'
        return
    fi
    index=$(mktemp "$BUILD/index.XXXXXX")
    cp "$SRC/.git/index" "$index"
    GIT_INDEX_FILE=$index git -C "$SRC" add -u .
    GIT_INDEX_FILE=$index git -C "$SRC" write-tree
    rm -f "$index"
}

in_progress() {
    local name
    for name in rebase-merge rebase-apply MERGE_HEAD CHERRY_PICK_HEAD; do
        if [[ -e $SRC/.git/$name ]]; then return 0; fi
    done
    return 1
}

# Keeps the present state, edits included, under a ref of its own.
back_up_checkout() {
    local ref commit
    ref=refs/backup/$(date +%Y%m%d-%H%M%S)-$$
    commit=$(src_git -c user.name=cpython-nit -c user.email=cpython-nit@localhost \
        stash create "backup before the series was imported again")
    src_git update-ref "$ref" "${commit:-HEAD}"
    say "A copy of it is kept: git -C build/src show $ref"
}

# --- Import -----------------------------------------------------------------

# import_series [--force]: brings build/src to the series. Own work in it is
# kept if the series did not change, and never dropped unasked.
import_series() {
    local force=${1:-} marker=$SRC/.git/series-importing
    ensure_checkout
    current_series
    provide_generated
    ensure_identity
    if [[ -f $marker ]]; then
        # A checkout was cut short. What is on disk is part old, part new and
        # nothing of it is the developer's.
        rm -f "$SRC/.git/index.lock"
        check_out_series
        return
    fi
    refresh_index
    if has_own_work; then
        if [[ $force == --force ]]; then
            back_up_checkout
        elif [[ $SERIES_TIP == "$(imported)" ]]; then
            say "build/src has work of its own and is used as it is (scripts/patches export saves it)."
            return
        else
            say "$PROGRAM: error: both build/src and the series in cpython-patch changed since the last import."
            say "    scripts/patches export          keeps what is in build/src and replaces the patches"
            say "    scripts/patches import --force  takes the series and sets build/src aside"
            exit 1
        fi
    elif [[ $SERIES_TIP == "$(imported)" ]]; then
        return
    fi
    check_out_series
}

check_out_series() {
    local marker=$SRC/.git/series-importing
    echo "$SERIES_TIP" >"$marker"
    rm -rf "$SRC/.git/rebase-merge" "$SRC/.git/rebase-apply"
    run_step "import the patches" "$LOGS/import.log" \
        git -C "$SRC" -c advice.detachedHead=false checkout --force -B "$SERIES_BRANCH" "$SERIES_TIP" --
    # A file that has become a generated one was in the commits before.
    provide_generated
    record_import
    rm -f "$marker"
}

# The generated files are not in the commits; the release's versions stand in
# until the build makes ours.
provide_generated() {
    local path
    configure_checkout "$SRC/.git"
    for path in "${GENERATED[@]}"; do
        if [[ -f $SRC/$path ]]; then continue; fi
        cp -p "$STOCK_SRC/$path" "$SRC/$path"
        # Every object depends on this one. It is made last, and would have all
        # compiled twice if it did not name our module from the start.
        if [[ $path == */stdlib_module_names.h ]]; then
            sed -i 's/^"_interpreters",$/&\n"_interrupts",/' "$SRC/$path"
        fi
    done
}

record_import() {
    src_git update-ref refs/series/base "$SERIES_BASE"
    src_git update-ref refs/series/imported "$SERIES_TIP"
}

# --- Export -----------------------------------------------------------------

# write_patches BASE TIP DIR [PATH...]: the commits as patch files, without
# what they change in the PATHs.
write_patches() {
    local base=$1 tip=$2 dir=$3 excluded=()
    shift 3
    if (($#)); then excluded=("${@/#/:(top,exclude,literal)}"); fi
    src_git "${FORMAT_PATCH[@]}" --output-directory "$dir" "$base..$tip" -- . "${excluded[@]}"
}

export_series() {
    local base work path home subjects dirty new_paths=() changed=() on_disk
    ensure_checkout
    base=$(src_git rev-parse --quiet --verify refs/series/base) ||
        die "build/src holds no series yet; run scripts/patches import"
    if in_progress; then die "a rebase or merge is going on in build/src; finish or abort it first"; fi
    src_git merge-base --is-ancestor "$base" HEAD ||
        die "the commits in build/src no longer start at $base, where the import put them"
    [[ -z $(src_git rev-list --merges "$base..HEAD") ]] ||
        die "there is a merge commit in build/src; a series is a straight line"
    subjects=$(src_git log --format=%s "$base..HEAD" | grep -E '^(fixup|squash|amend)! ' || true)
    [[ -z $subjects ]] ||
        die "fold these commits first (cd build/src && git rebase -i --autosquash $base):"$'\n'"$subjects"
    refresh_index

    # Whole files, ours before or added now, are kept as files and not patched.
    mapfile -t new_paths < <({
        src_git diff-tree -r --no-renames --name-only --diff-filter=A refs/series/release "$base"
        src_git diff-tree -r --no-renames --name-only --diff-filter=A "$base" HEAD
        src_git diff-index --no-renames --name-only --diff-filter=A HEAD
    } | sort -u)
    dirty=$(src_git diff-index --name-only HEAD -- . "${new_paths[@]/#/:(top,exclude,literal)}")
    [[ -z $dirty ]] ||
        die "commit these changes in build/src first (git commit --fixup=COMMIT, then rebase):"$'\n'"$dirty"
    src_git ls-files --others --exclude-standard | sed 's/^/note: git does not track this file, so it is not exported: /' >&2

    work=$(mktemp -d "$BUILD/export.XXXXXX")
    temporary "$work"
    mkdir "$work/patches"
    write_patches "$base" HEAD "$work/patches" "${new_paths[@]}"
    for path in "${new_paths[@]}"; do
        if [[ -f $SRC/$path ]]; then printf '%s\t%s\n' "$path" "$SRC/$path"; fi
    done >"$work/new-files"
    [[ -f $SRC/$CORE_HEADER_IN_SRC ]] || die "build/src lacks $CORE_HEADER_IN_SRC; restore it"

    # Nothing is replaced before the patches are known to give what is on disk.
    make_series "$work/patches" <"$work/new-files"
    on_disk=$(tree_on_disk)
    [[ $(src_git rev-parse "$SERIES_TIP^{tree}") == "$on_disk" ]] ||
        die "the exported series would not give what is in build/src; this is a bug in $PROGRAM"

    for path in "${new_paths[@]}"; do
        home=$(home_of_new_file "$path")
        if same_as_base "$base" "$path"; then continue; fi
        if [[ -f $home ]] && ! same_as_base "$base" "$path" "$home" && ! same_file "$SRC/$path" "$home"; then
            die "$path changed both in build/src and as $home; merge the two by hand, then export"
        fi
        changed+=("$path")
    done
    for path in "${changed[@]}"; do
        home=$(home_of_new_file "$path")
        if [[ -f $SRC/$path ]]; then
            if same_file "$SRC/$path" "$home"; then continue; fi
            mkdir -p "$(dirname "$home")"
            cp -p "$SRC/$path" "$home"
            say "wrote ${home#"$ROOT/"}"
        elif [[ -f $home ]]; then
            rm -f "$home"
            say "removed ${home#"$ROOT/"}"
        fi
    done
    replace_patches "$work/patches"
    rm -rf "$work"

    # What is on disk now is the series, so make it look like it just imported:
    # the files stay, only commit ids may move.
    if [[ $(src_git rev-parse HEAD) != "$SERIES_TIP" ]]; then
        back_up_checkout
        src_git reset --quiet --mixed "$SERIES_TIP"
    fi
    record_import
    # New files may have changed in the repository meanwhile.
    import_series
}

same_file() {
    [[ -f $1 && -f $2 ]] && cmp -s "$1" "$2" && [[ $(stat -c %A "$1" "$2" | cut -c4 | uniq | wc -l) == 1 ]]
}

# same_as_base BASE PATH [FILE]: is FILE (or what is on disk) as it was imported?
same_as_base() {
    local file=${3:-$SRC/$2} blob
    blob=$(src_git rev-parse --quiet --verify "$1:$2") || return 1
    [[ -f $file && $(src_git hash-object --no-filters "$file") == "$blob" ]]
}

replace_patches() {
    local new=$1 file name kept
    if [[ -n $(list_patches "$PATCHES") ]] && ! diff -rq "$new" "$PATCHES" >/dev/null; then
        kept=$BUILD/backup/patches-$(date +%Y%m%d-%H%M%S)
        mkdir -p "$kept"
        cp -p "$PATCHES"/*.patch "$kept"
        say "The patches as they were: ${kept#"$ROOT/"}"
    fi
    while read -r file; do
        name=$(basename "$file")
        if [[ ! -f $new/$name ]]; then
            rm -f "$file"
            say "removed cpython-patch/patches/$name"
        fi
    done < <(list_patches "$PATCHES")
    while read -r file; do
        name=$(basename "$file")
        if ! cmp -s "$file" "$PATCHES/$name"; then
            cp "$file" "$PATCHES/$name"
            say "wrote cpython-patch/patches/$name"
        fi
    done < <(list_patches "$new")
}

# --- Check ------------------------------------------------------------------

# Does the series follow its rules, and does export give back what import got?
check_series() {
    local work file name faults=0 commit
    ensure_checkout
    make_series "$PATCHES" < <(list_new_files)
    work=$(mktemp -d "$BUILD/check.XXXXXX")
    temporary "$work"
    write_patches "$SERIES_BASE" "$SERIES_TIP" "$work"
    if ! diff -u -r --exclude=.gitkeep "$PATCHES" "$work" >"$LOGS/check.diff"; then
        say "The patches are not what an export writes (scripts/patches import, then export, mends it):"
        head -n 20 "$LOGS/check.diff" | sed 's/^/    /' >&2
        say "All differences: $LOGS/check.diff"
        faults=1
    fi
    while read -r commit; do
        name=$(src_git log -1 --format=%s "$commit")
        if [[ -z $(src_git log -1 --format=%b "$commit") ]]; then
            say "This patch says what but not why, its message has no body: $name"
            faults=1
        fi
        while read -r file; do
            say "This patch adds a whole file, which belongs in cpython-patch/new-files: $name: $file"
            faults=1
        done < <(src_git diff-tree -r --no-renames --no-commit-id --name-only --diff-filter=A "$commit")
    done < <(src_git rev-list --reverse "$SERIES_BASE..$SERIES_TIP")
    rm -rf "$work"
    if ((faults)); then exit 1; fi
    say "The series is in order: $(list_patches "$PATCHES" | wc -l) patches, $(list_new_files | wc -l) new files."
}
