#!/bin/sh
# boxctl: drives the services, jobs and converge runs of the root that this file lies in.
GPUBOX_ROOT=$(cd "${0%/*}/.." && pwd)
PYTHONPATH=$GPUBOX_ROOT/lib
export GPUBOX_ROOT PYTHONPATH
exec "$GPUBOX_ROOT/controller/bin/python" -B -s -P -m boxctl "$@"
