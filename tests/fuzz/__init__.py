"""`make fuzz`: damaged messages for every parser of both sides; each is read, or refused by an error that has a name.

    mutations   how a message is damaged: as bytes, as TLVs, as JSON
    corpus      whole messages of a download, a package, notifications and orders between the lab's own parts
    host, coap, modem, firmware   the parsers, each a Target
    run         the loop, its limits of time and memory, its report
"""
