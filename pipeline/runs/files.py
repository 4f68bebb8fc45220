"""The names of all files and folders that a run writes into its output directory.

output/
  config.yaml       the configuration of the run
  owner.json        the process that works on the run at the moment (`OwnerRecord`)
  run.json          the finished stages and their results (`RunState`)
  summary.json      all figures, for scripts
  mlflow.db         the record in MLflow, unless `tracking.uri` names another place
  logs/             the messages of Ray's C++ side
  raw/              the recordings of the synthetic recorder
  store/            the clip store, unless `data.store` names another place
  checkpoints/      a folder for each attempt to train, with its checkpoints
  metrics.jsonl     one row for each logged step of training
  encoder/          the encoder after training
  random/           the encoder before training
  evaluation.json   the curves of the linear probe, and the figures of each test person
  features/         the features of both encoders
  figures/          the pictures of the report
  report.html       the report
  card/             the data card
  trial.json        what a sweep knows of this trial (`TrialRecord`)
  records.jsonl     the figures of each trial of a table of variants
  other_records.jsonl  those of trials that the table no longer has, or has with other settings
  table.md          the table
  table.png         its plot
  best/             the winner of a search as an experiment, see `pipeline.sweep.winner`
  confirmed.md      the winner with new seeds, beside the settings that the search began with
  comparison.html   runs side by side, as an interactive page
  comparison.csv    their figures and parameters, a row a run
  comparison.parquet  the same
"""

CONFIG = "config.yaml"
OWNER = "owner.json"
STATE = "run.json"
SUMMARY = "summary.json"
LOGS = "logs"
RAW = "raw"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
ENCODER = "encoder"
RANDOM_ENCODER = "random"
ENCODERS = (ENCODER, RANDOM_ENCODER)
# In both of them.
ENCODER_CARD = "config.json"
EVALUATION = "evaluation.json"
FEATURES = "features"
FIGURES = "figures"
REPORT = "report.html"
CARD = "card"
TRIAL = "trial.json"
RECORDS = "records.jsonl"
OTHER_RECORDS = "other_records.jsonl"
TABLE = "table.md"
TABLE_PLOT = "table.png"
CONFIRMED = "confirmed.md"
COMPARISON = "comparison.html"
COMPARISON_CSV = "comparison.csv"
COMPARISON_PARQUET = "comparison.parquet"
