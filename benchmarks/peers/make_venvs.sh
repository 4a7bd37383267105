#!/bin/sh
# Makes the environments of the peers: make_venvs.sh FOLDER [PYTHON]
set -eu
folder=$1
python=${2:-python3.11}
here=$(dirname "$0")

"$python" -m venv "$folder/spu"
"$folder/spu/bin/pip" install spu==0.9.5 'jax<=0.4.34' 'jaxlib<=0.4.34' 'numpy<2'

# sklearn 0.0: crypten asks for it, and its newer uploads refuse to be installed
"$python" -m venv "$folder/crypten"
"$folder/crypten/bin/pip" install --constraint "$here/../../deploy/constraints.txt" crypten==0.4.1 sklearn==0.0 torch==2.13.0
