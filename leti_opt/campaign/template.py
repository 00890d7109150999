"""The TOML file that a new campaign starts from."""

TEMPLATE = """\
# A campaign: which cells, in which networks, on which devices. See docs/campaigns.md.
# First look what it takes:  leti-opt campaign plan THIS_FILE
name = "my campaign"
store = "latency.db"       # remembers every measurement; or postgresql://USER:PASSWORD@HOST/NAME for several hosts
seed = 0                   # of the sample and of the order
networks = ["small"]       # nasbench101, nasbench201, small, or { preset = "nasbench101", filters = 64 }
devices = ["host-cpu"]     # see: leti-opt devices list; for instance "android:*/cpu"
# on_event = "notify-send \\"$LETI_EVENT\\" \\"$LETI_EVENT_TEXT\\""    # started, device-lost, device-back, finished …
# licence = "cc-by-4.0"    # of the data set
# remark = "the phones lay on a metal plate, in flight mode"    # for its card

[cells]
space = "nasbench101"
sample = 300               # leave it out for all cells
method = "random"          # or "stratified": equal shares of every range of FLOPs and memory

[cells.filter]
# max_flops = "5G"
# max_memory = "2MiB"
# gpu = "paper-2020"       # only networks that are forecast to fit a phone's GPU whole
# accuracy = "nasbench101.accuracy"    # made by: leti-opt accuracy import
# min_accuracy = 0.9321

[protocol]
# min_runs = 300           # the device's default if absent
# max_relative_std = 0.1

[canary]
# pace = "usual"           # or "quiet", or "off"

[execution]
# backend = "loky"         # joblib's backend that builds networks
# ahead = 8                # networks built ahead for each device
# patience_h = 24.0        # hours that a device may be away
"""
