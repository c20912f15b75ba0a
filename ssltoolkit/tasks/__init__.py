"""Evaluation tasks: label file, kind of embedding, splits, probe loss, metrics, post-processing and figures."""

from ssltoolkit.data.labels import LabelTable
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.probe_loss import BinaryCrossEntropy, CrossEntropy, ProbeLoss, SquaredError
from ssltoolkit.evaluation.task import SceneTask, Task, TaskData
from ssltoolkit.tasks.classes import ClassTask

__all__ = [
    "BinaryCrossEntropy",
    "ClassTask",
    "CrossEntropy",
    "LabelTable",
    "Metric",
    "ProbeLoss",
    "SceneTask",
    "SquaredError",
    "Task",
    "TaskData",
]
