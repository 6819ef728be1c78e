#!/bin/bash
# Debian 13 with Slurm and munge, of this machine's architecture: root.tar. No service starts there.
set -euo pipefail

rm -f root.tar
mmdebstrap --variant=minbase --architectures=amd64 --mode=root --aptopt='APT::Sandbox::User "root"' \
    --include=iproute2,munge,python3,slurm-client,slurmctld,slurmd \
    trixie root.tar "$LAB_SOURCES"
