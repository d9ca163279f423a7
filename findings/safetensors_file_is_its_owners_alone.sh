#!/usr/bin/env bash
# safetensors 0.8.0: save_file makes a file that only its owner can read, whatever the umask; up to 0.7.0 it didn't.
#
# Seen: under umask 022 the file of 0.7.0 has mode 0644, that of 0.8.0 mode 0600; under umask 002 it is 0600 as well.
# Most would guess: a new file has the rights of any other, as of torch.save or open, and an update keeps them.
# Why it matters: weights in a team's folder, a container's volume or a web server's can't be read by anyone else, and
# copies that keep modes carry it on. The config and card beside them are readable, so that the error comes late.
# Remedy: chmod after saving, or write the bytes of safetensors' save() to a file of one's own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet numpy==2.4.6
mode() {
    "$folder/env/bin/pip" install --quiet safetensors=="$1"
    (
        umask "$2"
        cd "$folder"
        rm -f weights.safetensors
        "$folder/env/bin/python" -c 'import numpy, safetensors.numpy as s; s.save_file({"w": numpy.ones(2)}, "weights.safetensors")'
        stat -c %a weights.safetensors
    )
}
before=$(mode 0.7.0 022)
now=$(mode 0.8.0 022)
group=$(mode 0.8.0 002)
echo "umask 022: safetensors 0.7.0 $before, 0.8.0 $now; umask 002: 0.8.0 $group"
[ "$before $now $group" = "644 600 600" ] || { echo "it has changed"; exit 1; }
