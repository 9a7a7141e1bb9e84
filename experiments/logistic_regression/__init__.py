"""The main job: ZO-SAH and RSPG on logistic regression."""
