-- rates: how often an API key may call, by the generic cell rate algorithm (ITU-T I.371) with a minute of burst.
-- priority/rates.py explains it and gives the same verdicts.

-- Counts that many calls of the kind `what` ('submit', 'status' or 'queue_status') of the key with that id and returns 0. `now` is in ms of the
-- store's clock (`now_ms`). If they are too many, it counts none and returns the ms to wait.
-- A rate of 0 a minute is no limit.
local function throttle(what, api_key, per_minute, calls, now)
  per_minute = tonumber(per_minute)
  if per_minute == 0 then return 0 end
  local key, cost = K.rate(what .. ':' .. api_key), calls * 60000 / per_minute
  local arrival = math.max(tonumber(redis.call('GET', key) or 0), now) + cost
  local wait = math.ceil(arrival - now - math.max(60000, cost) - 0.001) -- 0.001: rounding of doubles
  if wait > 0 then return wait end
  redis.call('SET', key, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now))
  return 0
end
