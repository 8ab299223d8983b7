"""`easel setup`: hardware, models, bot tokens and administrators."""
