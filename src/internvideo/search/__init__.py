"""A library of videos that is searched by sentences and by example.

    files ──► cutting ──► embedding ──► store ──► query ──► hits ──► page, clips
    what is    shots or    one vector    LanceDB   a vector,  folded,
    new here   windows     a part        Milvus    filters    reranked

records            what is kept of a part of a video, of a video, and of the whole library
files              which videos there are, and whether they are those that were indexed
cutting, shots     where a video is cut
embedding          parts of videos with their vectors, made here or on a cluster
store              the five methods of a store; `lancedb_store`, `milvus_store`, `opening`
hits               what a search finds; near-identical hits folded into one
matching           a second, slower look at the hits by a model with a matching head
queries            a sentence or a moment as a vector
library            `Library`: index, search, delete, compact, status
page, clips        the hits as a page of frames, and as video files
"""
