#!/bin/sh
# Records generated video to a file.
# SPDX-License-Identifier: LGPL-2.1-or-later
flags=' --force --prompt-in-tags '
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
output='' title='' force='' prompt_in_tags=''

help() {
  cat <<END
Usage: $me --output FILE [OPTION]...

Records generated video to FILE, MP4, MOV or Matroska by its name, as fast as it is made. Says each
second how far it is. Ends after --seconds, or when it is interrupted (Ctrl-C); both leave a whole
file. Model, seed and a hash of the prompt are in the file's comment.

  $me --output ball.mp4 --seconds 10
  $me --output story.mkv --prompt-file story.txt --seconds 60 --title "A story"

The file:
  --output FILE       FILE.mp4, FILE.mov or FILE.mkv
  --force             write over a file
  --title TEXT        the tag "title"
  --prompt-in-tags    put the prompt itself into the file
END
}

option() {
  case $1 in
    --output) output=$2 ;;
    --title) title=$2 ;;
    --force) force=1 ;;
    --prompt-in-tags) prompt_in_tags=1 ;;
    *) return 1 ;;
  esac
}

parse "$@"
[ -n "$output" ] || misuse "where to? Name a file with --output"
case $output in
  *.mp4) mux=mp4mux ;;
  *.mov) mux=qtmux ;;
  *.mkv) mux=matroskamux ;;
  *) misuse "--output wants a name that ends in .mp4, .mov or .mkv, not \"$output\"" ;;
esac
[ -n "$force" ] || [ ! -e "$output" ] || fail "$output exists: name another file, or use --force"
[ -z "$title" ] || [ -z "$prompt_in_tags" ] || misuse "--prompt-in-tags makes the prompt the title: not with --title"
[ -d "$(dirname "$output")" ] || fail "there is no directory $(dirname "$output"): make it first"
prepare progressreport taginject "$mux"
set -- ! progressreport name=recorded update-freq=1
[ -z "$quiet" ] || set -- "$@" silent=true
# a tag within a list within a property: quoted for each of them
[ -z "$title" ] || set -- "$@" ! taginject "tags=$(quote "title=$(quote "$title")")"
[ -z "$prompt_in_tags" ] || set -- prompt-in-tags=true "$@"
# shellcheck disable=SC2086 # lists of words
launch "$@" ! $video ! $h264 ! $mux ! filesink "location=$(quote "$output")"
