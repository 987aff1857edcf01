"""Every limit on recctl's input, each with its unit.

docs/limits.md has the same table; a test compares them. Input above a limit is refused in one line
that names the limit and what it bounds. This module imports nothing.
"""

KIB = 2**10
MIB = 2**20
GIB = 2**30

# YAML and JSON

YAML_BYTES = 4 * MIB
"""Bytes of a YAML file that recctl reads: params.yaml, dvc.yaml, prefect.yaml, MLmodel."""
YAML_DEPTH = 50
"""Levels that a YAML file may be nested."""
YAML_NODES = 100_000
"""Values in a YAML file; an alias counts as all the values that it refers to."""
INTEGER_BITS = 1_000
"""Bits of a whole number in YAML; each setting has its own smaller limit."""

# Serving

SERVED_K = 10_000
"""Items that one history of a request to a served model may ask for."""
SERVED_EVENTS = 1_000
"""Events in one request to the service."""
SERVERS = 256
"""Processes of the service (serve --workers)."""

# Decisions

APPROVER = 200
"""Characters that are kept of the name of whoever approved a decision; the rest is cut off."""

# Models

LENGTH = 100_000
"""Positions that a network sees (max_length)."""
WIDTH = 100_000
"""Numbers in a vector of a network (hidden_size, state_size), heads, and filters per height."""
LAYERS = 1_000
"""Layers of a network; heights of Caser's filters (window)."""
WEIGHTS = 10_000_000_000
"""Weights of a network in all, its items' vectors included."""
CATALOGUE = 2**31 - 3
"""Items of a model: item indices, PAD and MASK are 32 bits."""
MODEL_BYTES = 64 * GIB
"""Bytes of a model's weights (model.safetensors)."""
VOCABULARY_BYTES = 512 * MIB
"""Bytes of a vocabulary.json."""
JSON_BYTES = 64 * MIB
"""Bytes of any other JSON file that a stage wrote."""

# Settings

PROCESSES = 1_024
"""Processes that train together (train.processes)."""
BATCH = 1_000_000_000
"""Sequences of a batch (train.batch_size); more than there are is all of them."""
EPOCHS = 1_000_000_000
"""Epochs, and validations without a gain (train.max_epochs, patience, validate_every)."""
STEPS = 1_000_000_000
"""Steps of the warm-up (train.warmup_steps)."""
RATE = 1_000_000
"""Learning rate, weight decay and clip norm."""
TRAIN_NEGATIVES = 10_000_000
"""Items that a sampled loss compares with (train.negatives)."""
EVALUATE_NEGATIVES = 1_000_000
"""Candidates beside the target (evaluate.negatives)."""
RESAMPLES = 1_000_000
"""Resamples of a bootstrap."""
SEED = 2**63 - 1
"""A seed."""
COUNT = 2**63 - 1
"""A number of rows, users or items that a setting compares with."""
DAYS = 36_500
"""Days of a window."""
HOURS = 8_784
"""Hours that a clock may be off."""
RATIO = 1_000_000
"""How many times as large or slow, and how much better, a guardrail may allow."""
RANKED = 2**53
"""Items of a catalogue that a decision compares ranks of: ranks may be floating-point numbers."""
WAIT_SECONDS = 10_000_000
"""Seconds that a command waits for another one (--timeout, and --wait in minutes)."""
SEEDS = 100
"""Seeds that a leaderboard trains with."""
TUNE_MINUTES = 100_000
"""Minutes of a search for settings (tune.budget_minutes, --minutes)."""
TUNE_TRIALS = 100_000
"""Trials of a search for settings (--trials)."""
VERSION = 2**31 - 1
"""A version's number, and a decision's."""

# Intake

OVERLAP = 10**15
"""How far back a SQL source may ask, in its watermark's units."""
LINE = 16 * MIB
"""Bytes of a line of a log; a longer one goes to quarantine as a bad line."""
SETTLED = 2.0
"""Seconds since its last change after which a dropped file counts as whole."""
UNENDED = 300.0
"""The same for text whose last line has no end: its writer may be in the middle of a row."""
UNTOUCHED = 3_600.0
"""The same for an empty file, a gzip without its end or a parquet without its footer."""
PATIENCE = 10.0
"""Seconds that an intake waits for one file that is being written."""
WATERMARK = 2**62
"""Size of a number as a SQL source's watermark, and of `initial`: nothing could follow the last."""
WATERMARK_TEXT = 1_000
"""Characters of a text as a watermark."""
WATERMARK_YEAR = 9_000
"""Year of a time as a watermark: many databases use 9999-12-31 for no time."""

# Downloads and packed files

DOWNLOAD_BYTES = 4 * GIB
"""Bytes of a download: of an address that intake asks, of a known data set."""
DOWNLOAD_RATE = 1_024
"""Bytes a second of a download, on average over DOWNLOAD_SECONDS; a slower one is given up."""
DOWNLOAD_SECONDS = 30.0
"""Seconds over which a download's rate is taken."""
UNPACK_RATIO = 100
"""Unpacked bytes per packed byte (gzip, zip) ..."""
UNPACK_FREE = 1 * GIB
"""... above this many unpacked bytes, which any file may have."""
UNPACKED_BYTES = 256 * GIB
"""Unpacked bytes of any packed file."""
