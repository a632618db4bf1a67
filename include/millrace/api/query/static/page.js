// Shows the document of this API, and lets whoever signed in try its routes.
"use strict";

/** What a browser's session repeats with each request, so that no other site's page can send it. */
function proof() {
  const kept = document.cookie.split("; ").find((one) => one.startsWith("millrace_csrf="));
  return kept?.slice(kept.indexOf("=") + 1);
}

SwaggerUIBundle({
  url: "docs/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null, // Nothing is told to anybody else.
  requestInterceptor(request) {
    const mark = proof();
    if (mark && new URL(request.url, location.href).origin === location.origin) {
      request.headers["X-CSRF-Token"] = mark;
    }
    return request;
  },
});
