"""`make field`: a device has to finish its two orders whatever the field is like, quirk by quirk, family by family."""
