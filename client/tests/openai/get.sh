#!/bin/sh
# Gets OpenAI's Python package and what it depends on: the wheels that requirements.txt has hashes of, unpacked into a
# directory below the given one for this version of them and of Python, which is printed. What is there is not fetched.
#
#     client/tests/openai/get.sh DIRECTORY
#
# Nothing is installed and no root is needed; it downloads 6 MB from PyPI.
set -eu

for tool in python3:python3 curl:curl; do
    command -v "${tool%:*}" >/dev/null || missing="${missing:-} ${tool#*:}"
done
python3 -m pip --version >/dev/null 2>&1 || missing="${missing:-} python3-pip"
if [ -n "${missing:-}" ]; then
    echo "programs of the host are missing; get them by \`sudo apt-get install$missing\`" >&2
    exit 1
fi

requirements=$(dirname "$(realpath "$0")")/requirements.txt
python=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
out=$(realpath -m "${1:?expected the directory to put the packages in}")/$(sha256sum "$requirements" | cut -c -16)-$python
if [ ! -d "$out" ]; then
    mkdir -p "$(dirname "$out")"
    work=$(mktemp -d "$out.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --no-compile --root-user-action ignore --target "$work/packages" --requirement "$requirements" >&2
    mv -T "$work/packages" "$out"
fi
echo "$out"
