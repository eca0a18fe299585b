-- What wrk sends, told by the environment: METHOD, BODY_BYTES, HEADERS (a line each), and for a
-- lock that is taken and given back, ALTERNATE: the method of every second request.
local method = os.getenv("METHOD") or "GET"
local alternate = os.getenv("ALTERNATE")
local size = tonumber(os.getenv("BODY_BYTES") or "0")
local headers = {}
for name, value in string.gmatch(os.getenv("HEADERS") or "", "([^:\n]+): ([^\n]*)") do
   headers[name] = value
end
local body = size > 0 and string.rep("x", size) or nil
local first, second, isSecond

function init(args)
   first = wrk.format(method, nil, headers, body)
   if alternate then second = wrk.format(alternate, nil, headers) end
end

function request()
   if not alternate then return first end
   isSecond = not isSecond
   return isSecond and first or second
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      "RESULT %d %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency.max,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
