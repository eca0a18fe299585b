#include "COpenAPI.h"

// A Swift resource bundle would be a folder beside the program and bring Foundation with it;
// #embed makes the document part of the program.
const unsigned char copenapi_document[] = {
#embed "../../openapi.yaml"
};

const size_t copenapi_document_size = sizeof copenapi_document;
