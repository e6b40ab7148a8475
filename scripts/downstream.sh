#!/usr/bin/env bash
# The example plugin against the working tree, as one of its users would have it: core and the plugin as wheels in a clean
# environment. It may import only what the record of the public surface has; its tests run there, the conformance suite
# among them, and a training that chooses it by name.
#
#   scripts/downstream.sh              the example
#   scripts/downstream.sh FOLDER…      any other plugins' source folders
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

[ $# -gt 0 ] || set -- "$root/docs/authoring/example"
uv build --quiet --wheel --out-dir "$scratch/dist" "$root/core"
for plugin in "$@"; do
    source=$(cd "$plugin" && pwd)
    rm -rf "$scratch/one" "$scratch/env"
    uv build --quiet --wheel --out-dir "$scratch/one" "$source"
    uv venv --quiet "$scratch/env"
    uv pip install --quiet --python "$scratch/env/bin/python" "$scratch"/dist/*.whl "$scratch"/one/*.whl pytest
    # From elsewhere, so that nothing of the source tree is found by its folder.
    cp -r "$source/tests" "$scratch/one/tests"
    cd "$scratch/one"
    "$scratch/env/bin/python" "$root/scripts/surface.py" "$source"
    "$scratch/env/bin/noisyrun" plugins --strict
    "$scratch/env/bin/python" -m pytest -q -p no:cacheprovider tests
    if [ "$source" = "$root/docs/authoring/example" ]; then
        "$scratch/env/bin/noisyrun" --weighter small-loss --epochs 2 --data.subset 300 --tracking none --out run
    fi
    cd "$root"
done
