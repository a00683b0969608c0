// Shows the OpenAPI document of this deployment. Nothing is loaded from elsewhere.
"use strict";

window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    domNode: document.getElementById("swagger-ui"),
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
  });
});
