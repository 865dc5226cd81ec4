#!/bin/sh
# Shows generated video on the screen.
# SPDX-License-Identifier: LGPL-2.1-or-later
flags=' '
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
sink=autovideosink

help() {
  cat <<END
Usage: $me [OPTION]...

Shows generated video in a window, live, until it is interrupted, the window is closed, or
--seconds are over. (--bitrate and --encoder change nothing here.)

  $me --prompt "snow falls on a city at night"
  $me --size 1280x720 --sink "fpsdisplaysink text-overlay=false"

The screen:
  --sink TEXT         element that shows it ($sink)
END
}

option() {
  case $1 in
    --sink) sink=$2 ;;
    *) return 1 ;;
  esac
}

parse "$@"
encoder=none
prepare "${sink%% *}"
# what shows pictures takes more formats than encoders do: let it choose
video=$(echo "$video" | sed 's/format=I420,//')
# shellcheck disable=SC2086 # lists of words
launch is-live=true ! $video ! videoconvert ! $sink
