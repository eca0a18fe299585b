#include "COpenAPI.h"

// A Swift resource bundle would be a folder beside the program and bring Foundation with it;
// #embed makes the document part of the program.
static const unsigned char document[] = {
#embed "../../openapi.yaml"
};

const unsigned char *copenapi_document(void) { return document; }

size_t copenapi_document_size(void) { return sizeof document; }
