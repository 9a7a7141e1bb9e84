"""The methods that ZO-SAH is compared with, one file each."""
