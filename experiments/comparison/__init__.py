"""Every method of the library on the published comparison's data, with equal tuning."""
