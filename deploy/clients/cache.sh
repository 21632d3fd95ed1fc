# What the files of a folder name, made once and kept in the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed).
# Read by scripts that get libraries by lock files, and build with them.

if command -v sha256sum >/dev/null 2>&1; then sums=(sha256sum); else sums=(shasum -a 256); fi

# cached NAME COMMAND FOLDER…: prints where COMMAND has made NAME of what is in the folders. Where it has not, it is run
# in a copy of the first one, which is moved into place when it is whole: who runs this at the same time, or after one
# that was interrupted, finds all of it or nothing. A file that changes has it made anew.
cached() {
    local name=$1 command=$2 cache=${XDG_CACHE_HOME:-$HOME/.cache}/caed sum home fresh
    shift 2
    sum=$(for folder in "$@"; do (cd "$folder" && find . -type f -exec "${sums[@]}" {} + | LC_ALL=C sort); done | "${sums[@]}")
    home=$cache/$name-${sum:0:12}
    if [ ! -d "$home" ]; then
        mkdir -p "$cache"
        fresh=$(mktemp -d "$home.XXXXXX")
        # shellcheck disable=SC2064
        trap "rm -rf '$fresh'" EXIT
        cp -R "$1"/. "$fresh"
        (cd "$fresh" && "$command") >&2
        mv "$fresh" "$home" 2>/dev/null || true
        # Moving onto a folder that somebody else has just made moves into it.
        rm -rf "$fresh" "$home/$(basename "$fresh")"
        trap - EXIT
    fi
    echo "$home"
}
